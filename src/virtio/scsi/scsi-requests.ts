/**
 * The requests of virtio-scsi, from the chain that a driver offered to the response
 * that it waits for.
 *
 * Data moves between the image and the guest's own pages, as for virtio-blk. A driver's
 * mistake gets sense data and is counted.
 *
 * Source: VIRTIO 1.2, 5.6.6.1 (Device Operation: Request Queues).
 */
import { ENOSPC, EOPNOTSUPP } from "../../base/errno.ts";
import { DISK_ERRORS } from "../../disk/disk-counters.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { INVALID_OPERATION, NO_SPACE, UNRECOVERED_READ, WRITE_ERROR } from "../../scsi/commands.ts";
import * as unit from "../../scsi/unit.ts";
import type { DeviceQueue } from "../device.ts";
import {
  DEFER,
  DISCARD,
  DiskRequests,
  FLUSH,
  READ,
  type RequestFormat,
  type ServedDisk,
  ZERO,
} from "../disk-requests.ts";
import type { Chain } from "../queue/chain.ts";
import type { DeferredHeads } from "../queue/deferred-heads.ts";
import { ScsiResponses, type ScsiSizes, STATUS_CHECK_CONDITION, STATUS_GOOD } from "./scsi-responses.ts";
import { NO_TARGET, type ScsiUnits } from "./scsi-units.ts";

/** Of a request, before and behind its command. */
const HEADER_BYTES = 19;
const ID = 8;
const CDB_BYTES = 16;
// What became of a request: 5.6.6.1.
const S_OK = 0;
const S_OVERRUN = 1;
export const S_ABORTED = 2;
const S_BAD_TARGET = 3;
export const S_RESET = 4;

export class ScsiRequests implements RequestFormat {
  readonly requests: DiskRequests;
  readonly #units: ScsiUnits;
  readonly #sizes: ScsiSizes;
  readonly #header = new Uint8Array(HEADER_BYTES + 256);
  readonly #headers = new Map<number, Uint8Array>();
  readonly #cdb = new Uint8Array(CDB_BYTES);
  readonly #responses: ScsiResponses;
  /** By tag: the initiator's id, in two halves. */
  readonly #id: Uint32Array;

  constructor(
    units: ScsiUnits,
    memory: GuestMemory,
    sizes: ScsiSizes,
    deferred: readonly DeferredHeads[],
    queueSize: number,
    now: () => number,
  ) {
    this.#units = units;
    this.#sizes = sizes;
    const disks = units.units.map(
      ({ unit: { regs }, backend, errors, counters, throttle }): ServedDisk => ({
        ...{ backend, errors, counters, throttle },
        get writeback() {
          return regs.writeCache !== 0;
        },
      }),
    );
    this.requests = new DiskRequests(disks, this, memory, deferred, queueSize, now);
    const { tags } = this.requests;
    this.#responses = new ScsiResponses(memory, sizes, tags);
    this.#id = new Uint32Array(2 * tags);
  }

  /** Whether a request with that id is in flight, or deferred. */
  has(index: number, idLow: number, idHigh: number): boolean {
    for (let tag = 0; tag < this.requests.tags; tag++) {
      if (this.#isOf(tag, index) && this.#hasId(tag, idLow, idHigh)) return true;
    }
    return false;
  }

  hasAny(index: number): boolean {
    for (let tag = 0; tag < this.requests.tags; tag++) if (this.#isOf(tag, index)) return true;
    return false;
  }

  /**
   * Ends the deferred requests of a unit.
   *
   * @param queues all of the device's
   * @param id of the only one; undefined for all
   */
  abort(
    index: number,
    queues: readonly DeviceQueue[],
    response: number,
    id: { readonly low: number; readonly high: number } | undefined,
  ): void {
    this.requests.endDeferred(index, queues, (tag) => {
      if (id !== undefined && !this.#hasId(tag, id.low, id.high)) return undefined;
      return this.#respond(tag, response, STATUS_GOOD, 0, 0);
    });
  }

  serve(tag: number, chain: Chain): number {
    const header = this.#headerOf(HEADER_BYTES + this.#sizes.cdbSize);
    chain.takeReadable(header, "a request header");
    this.#responses.take(chain, tag);
    const index = this.#units.find(header, 0);
    this.requests.disk[tag] = index;
    if (index === NO_TARGET) return this.#respond(tag, S_BAD_TARGET, STATUS_GOOD, 0, 0);
    const cdb = this.#cdbOf(header);
    const luns = this.#units.lunsOf(header[1]);
    const { noUnit } = this.#units;
    if (index < 0) return this.#end(tag, noUnit, noUnit.execute(cdb, chain, luns), chain);
    this.#id[2 * tag] = header[ID] | (header[ID + 1] << 8) | (header[ID + 2] << 16) | (header[ID + 3] << 24);
    this.#id[2 * tag + 1] =
      header[ID + 4] | (header[ID + 5] << 8) | (header[ID + 6] << 16) | (header[ID + 7] << 24);
    const bytes = chain.readableBytes + chain.writableBytes;
    if (!this.requests.mayBegin(tag, chain.readableBytes > 0, bytes)) return DEFER;
    const { unit: logical } = this.#units.units[index];
    return this.#carryOut(tag, logical, logical.execute(cdb, chain, luns), chain);
  }

  answer(tag: number, failure: number): number {
    const { operation, length } = this.requests;
    const done = operation[tag];
    if (failure === 0) return this.#respond(tag, S_OK, STATUS_GOOD, 0, done === READ ? length[tag] : 0);
    const isErase = done === DISCARD || done === ZERO;
    if (failure === EOPNOTSUPP && isErase) return this.#refuse(tag, INVALID_OPERATION);
    if (!isErase && done !== FLUSH) this.#responses.residual[tag] += length[tag];
    if (done === READ) return this.#refuse(tag, UNRECOVERED_READ);
    return this.#refuse(tag, failure === ENOSPC ? NO_SPACE : WRITE_ERROR);
  }

  #isOf(tag: number, index: number): boolean {
    return this.requests.isBusy(tag) && this.requests.disk[tag] === index;
  }

  #hasId(tag: number, low: number, high: number): boolean {
    return this.#id[2 * tag] === low && this.#id[2 * tag + 1] === high;
  }

  /** Answers what needs no storage, and begins what does. */
  #carryOut(tag: number, logical: unit.LogicalUnit, outcome: number, chain: Chain): number {
    const { requests } = this;
    const { residual } = this.#responses;
    switch (outcome) {
      case unit.READ: {
        const { bytes, offset } = logical;
        if (bytes > chain.writableBytes) return this.#respond(tag, S_OVERRUN, STATUS_GOOD, 0, 0);
        chain.keepWritable(bytes);
        residual[tag] -= bytes;
        return requests.read(tag, chain.writable, offset, bytes);
      }
      case unit.WRITE: {
        const { bytes, offset, isDurable } = logical;
        if (bytes > chain.readableBytes) return this.#respond(tag, S_OVERRUN, STATUS_GOOD, 0, 0);
        chain.keepReadable(bytes);
        residual[tag] -= bytes;
        return requests.write(tag, chain.readable, offset, bytes, isDurable);
      }
      case unit.FLUSH:
        residual[tag] = chain.readableBytes + chain.writableBytes;
        return requests.flush(tag);
      case unit.FREE:
        residual[tag] = 0;
        return requests.discard(tag, logical.ranges, logical.rangeCount);
      case unit.ZERO:
        residual[tag] = 0;
        return requests.zero(tag, logical.offset, logical.bytes, logical.mayUnmap);
      default:
        return this.#end(tag, logical, outcome, chain);
    }
  }

  /** The end of a command that needed no storage. */
  #end(tag: number, logical: unit.LogicalUnit, outcome: number, chain: Chain): number {
    if (outcome === unit.CHECK) return this.#refuse(tag, logical.sense);
    if (outcome !== unit.ANSWER) {
      this.#responses.residual[tag] = chain.readableBytes + chain.writableBytes;
      return this.#respond(tag, S_OK, STATUS_GOOD, 0, 0);
    }
    const { length, buffer } = logical;
    if (length > chain.writableBytes) return this.#respond(tag, S_OVERRUN, STATUS_GOOD, 0, 0);
    const data = chain.write(buffer.subarray(0, length));
    this.#responses.residual[tag] -= data;
    return this.#respond(tag, S_OK, STATUS_GOOD, 0, data);
  }

  #refuse(tag: number, sense: number): number {
    return this.#respond(tag, S_OK, STATUS_CHECK_CONDITION, sense, 0);
  }

  #respond(tag: number, response: number, status: number, sense: number, data: number): number {
    const index = this.requests.disk[tag];
    if (index >= 0 && (status !== STATUS_GOOD || response !== S_OK)) {
      this.#units.units[index].counters[DISK_ERRORS]++;
    }
    return this.#responses.write(tag, response, status, sense, data);
  }

  /** A view of the header's first bytes, one for each size: a driver sets it once. */
  #headerOf(bytes: number): Uint8Array {
    let header = this.#headers.get(bytes);
    if (header === undefined) {
      header = this.#header.subarray(0, bytes);
      this.#headers.set(bytes, header);
    }
    return header;
  }

  /** The command; what the driver's format has no room for is zero. */
  #cdbOf(header: Uint8Array): Uint8Array {
    this.#cdb.fill(0);
    for (let i = 0; i < this.#cdb.length && HEADER_BYTES + i < header.length; i++) {
      this.#cdb[i] = header[HEADER_BYTES + i];
    }
    return this.#cdb;
  }
}
