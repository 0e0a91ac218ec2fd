/**
 * An export as a disk: requests of any size at any sector, whatever the server's
 * blocks and limits are.
 *
 * A server that accepts only whole blocks gets whole blocks: reads get a buffer for
 * the extra bytes; writes are completed with the old bytes, one write after the other.
 * If the export ends within a sector, the rest of the sector reads as zeros.
 */

import { constants } from "node:os";
import { SECTOR } from "../base/units.ts";
import type { DiskSource, SourceExtent } from "../disk/disk-source.ts";
import { ZEROS } from "../disk/zeros.ts";
import { pieces } from "./connection.ts";
import type { NbdLink } from "./link.ts";
import { NbdError } from "./nbd-error.ts";
import {
  CMD_BLOCK_STATUS,
  CMD_FLAG_NO_HOLE,
  CMD_FLAG_REQ_ONE,
  CMD_FLUSH,
  CMD_READ,
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  FLAG_READ_ONLY,
  FLAG_SEND_FLUSH,
  FLAG_SEND_TRIM,
  FLAG_SEND_WRITE_ZEROES,
} from "./protocol.ts";

const MAX_BLOCK = 65536;
/** Bytes of one TRIM, WRITE_ZEROES or BLOCK_STATUS: their length has 32 bits. */
const MAX_RANGE = 2 ** 30;

export class NbdDisk implements DiskSource {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly #link: NbdLink;
  /** Requests begin and end at multiples of it. */
  readonly #unit: number;
  /** Bytes of the export. */
  readonly #end: number;
  /** Writes that are completed to whole blocks run one after the other, because two may share a block. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(link: NbdLink) {
    const { size, flags, minimumBlock, preferredBlock } = link.facts;
    this.#link = link;
    this.#unit = minimumBlock;
    this.#end = size;
    this.size = Math.ceil(size / SECTOR) * SECTOR;
    this.readOnly = (flags & FLAG_READ_ONLY) !== 0;
    this.blockSize = Math.min(MAX_BLOCK, Math.max(SECTOR, preferredBlock));
  }

  async read(offset: number, views: readonly Uint8Array[]): Promise<void> {
    const end = this.#endOf(offset, bytesIn(views));
    const within = Math.min(end, this.#end);
    const [from, to] = [this.#down(offset), this.#up(within)];
    const places = [...pieces(views, 0, within - offset)];
    if (from < offset) places.unshift(new Uint8Array(offset - from));
    if (within < to) places.push(new Uint8Array(to - within));
    await this.#transfer(CMD_READ, from, to, places);
    for (const behind of pieces(views, within - offset, end - within)) behind.fill(0);
  }

  async write(offset: number, views: readonly Uint8Array[]): Promise<void> {
    const end = this.#endOf(offset, bytesIn(views));
    const within = Math.min(end, this.#end);
    for (const behind of pieces(views, within - offset, end - within)) {
      if (behind.some((byte) => byte !== 0)) {
        throw this.#error(`the export ends at ${this.#end}, within its last sector`, "ENOSPC");
      }
    }
    const parts = [...pieces(views, 0, within - offset)];
    const [from, to] = [this.#down(offset), this.#up(within)];
    if (from === offset && to === within) return this.#transfer(CMD_WRITE, from, to, parts);
    const turn = this.#turn.then(async () => {
      const first = await this.#block(from);
      const last = to - this.#unit === from ? first : await this.#block(to - this.#unit);
      const before = first.subarray(0, offset - from);
      const behind = last.subarray(this.#unit - (to - within));
      await this.#transfer(CMD_WRITE, from, to, [before, ...parts, behind]);
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async flush(): Promise<void> {
    if (this.#has(FLAG_SEND_FLUSH)) await this.#link.request(CMD_FLUSH, 0, 0, 0);
  }

  /** Discards whole blocks of the server. It may have no effect, and has none without TRIM. */
  async discard(offset: number, length: number): Promise<void> {
    const [from, to] = [this.#up(offset), this.#down(Math.min(this.#endOf(offset, length), this.#end))];
    for (let at = from; at < to && this.#has(FLAG_SEND_TRIM); at += MAX_RANGE) {
      await this.#link.request(CMD_TRIM, 0, at, Math.min(MAX_RANGE, to - at));
    }
  }

  async writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    const end = Math.min(this.#endOf(offset, length), this.#end);
    const [from, to] = [this.#up(offset), this.#down(end)];
    if (!this.#has(FLAG_SEND_WRITE_ZEROES) || from >= to) return this.#writeZeros(offset, end);
    await this.#writeZeros(offset, from);
    for (let at = from; at < to; at += MAX_RANGE) {
      const flags = mayUnmap ? 0 : CMD_FLAG_NO_HOLE;
      await this.#link.request(CMD_WRITE_ZEROES, flags, at, Math.min(MAX_RANGE, to - at));
    }
    await this.#writeZeros(to, end);
  }

  async extentAt(offset: number, length: number): Promise<SourceExtent> {
    const { allocationId } = this.#link.facts;
    const from = this.#down(offset);
    const to = Math.min(this.#up(Math.min(offset + length, this.#end)), from + MAX_RANGE);
    const unknown = { length, zero: false, hole: false };
    if (allocationId === undefined || to <= from) return unknown;
    const found = (await this.#link.request(CMD_BLOCK_STATUS, CMD_FLAG_REQ_ONE, from, to - from)) ?? unknown;
    // Sectors are not divided: a sector with a boundary in it has the status of its start.
    const reached = Math.ceil((from + found.length) / SECTOR) * SECTOR;
    return { ...found, length: Math.min(length, reached - offset) };
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  /** Moves the bytes of a range, in as many requests as the server's limit requires. */
  async #transfer(command: number, from: number, to: number, views: readonly Uint8Array[]): Promise<void> {
    const most = this.#link.facts.maximumPayload;
    if (to - from <= most) {
      if (from < to) await this.#link.request(command, 0, from, to - from, views);
      return;
    }
    const requests: Promise<unknown>[] = [];
    for (let at = from; at < to; at += most) {
      const length = Math.min(most, to - at);
      requests.push(this.#link.request(command, 0, at, length, [...pieces(views, at - from, length)]));
    }
    // Waits for all of them: until the last has ended, the caller's buffers are in use.
    const ends = await Promise.allSettled(requests);
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  async #block(at: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.#unit);
    await this.#link.request(CMD_READ, 0, at, this.#unit, [bytes]);
    return bytes;
  }

  async #writeZeros(from: number, to: number): Promise<void> {
    for (let at = from; at < to; at += ZEROS.length) {
      await this.write(at, [ZEROS.subarray(0, Math.min(ZEROS.length, to - at))]);
    }
  }

  #endOf(offset: number, length: number): number {
    if (Number.isSafeInteger(offset) && offset >= 0 && offset + length <= this.size) return offset + length;
    throw this.#error(`there are no ${length} bytes at ${offset} of ${this.size}`, "EINVAL");
  }

  #has(flag: number): boolean {
    return (this.#link.facts.flags & flag) !== 0;
  }

  #down(offset: number): number {
    return offset - (offset % this.#unit);
  }

  #up(offset: number): number {
    return this.#down(offset + this.#unit - 1);
  }

  #error(why: string, code: "EINVAL" | "ENOSPC"): NbdError {
    return new NbdError(this.#link.where, why, -constants.errno[code]);
  }
}

function bytesIn(views: readonly Uint8Array[]): number {
  return views.reduce((sum, { length }) => sum + length, 0);
}
