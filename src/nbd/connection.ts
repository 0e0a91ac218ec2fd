/**
 * The client's side of an export: requests out, replies in, matched by cookie.
 *
 * Any number of requests may be in flight. If the server breaks the protocol (answers
 * twice, answers a request that was not made, sends bytes outside the requested range,
 * and so on), the connection ends, and every request fails: the start of the next reply
 * is then unknown.
 *
 * Source: "The NBD protocol", sections "Transmission", "Structured reply types".
 */
import type { SourceExtent } from "../disk/disk-source.ts";
import type { ByteChannel } from "./byte-channel.ts";
import { Coverage } from "./coverage.ts";
import { NbdError, quoted, violation } from "./nbd-error.ts";
import type { NbdExport } from "./negotiate.ts";
import {
  CMD_BLOCK_STATUS,
  CMD_DISC,
  CMD_READ,
  errnoOnWire,
  MAX_STRING,
  REPLY_FLAG_DONE,
  REPLY_TYPE_BLOCK_STATUS,
  REPLY_TYPE_ERROR,
  REPLY_TYPE_ERROR_OFFSET,
  REPLY_TYPE_IS_ERROR,
  REPLY_TYPE_NONE,
  REPLY_TYPE_OFFSET_DATA,
  REPLY_TYPE_OFFSET_HOLE,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STATE_HOLE,
  STATE_ZERO,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
} from "./protocol.ts";

interface Pending {
  readonly command: number;
  readonly offset: number;
  readonly length: number;
  /** The buffers of a read. */
  readonly views: readonly Uint8Array[];
  readonly coverage: Coverage;
  extent: SourceExtent | undefined;
  /** The first error of a structured reply. */
  error: NbdError | undefined;
  resolve(extent: SourceExtent | undefined): void;
  reject(error: Error): void;
}

const NAMES = ["read", "write", "disconnect", "flush", "trim", "cache", "write zeroes", "block status"];
const TWO_32 = 2 ** 32;

export class NbdConnection {
  readonly facts: NbdExport;
  readonly #where: string;
  readonly #channel: ByteChannel;
  readonly #pending = new Map<number, Pending>();
  #nextCookie = 0;
  #failure: NbdError | undefined;
  readonly #done: Promise<void>;

  constructor(channel: ByteChannel, facts: NbdExport, where: string) {
    this.#channel = channel;
    this.facts = facts;
    this.#where = where;
    this.#done = this.#run();
  }

  /** Why there will be no more replies. */
  get failure(): NbdError | undefined {
    return this.#failure;
  }

  /**
   * Sends a request and waits for its reply.
   *
   * @param length bytes of the disk, at most 2^32 - 1; of data, at most the server's limit
   * @param views the buffers of a read or a write: `length` bytes in total
   * @returns the extent, for a block status (with REQ_ONE)
   * @throws {NbdError}
   */
  request(
    command: number,
    flags: number,
    offset: number,
    length: number,
    views: readonly Uint8Array[] = [],
  ): Promise<SourceExtent | undefined> {
    if (this.#failure !== undefined) return Promise.reject(this.#lost(command, this.#failure));
    while (this.#pending.has(this.#nextCookie)) this.#nextCookie = (this.#nextCookie + 1) % TWO_32;
    const cookie = this.#nextCookie;
    this.#nextCookie = (this.#nextCookie + 1) % TWO_32;
    const answered = new Promise<SourceExtent | undefined>((resolve, reject) => {
      const targets = command === CMD_READ ? views : [];
      const coverage = new Coverage(command === CMD_READ ? length : 0);
      const state = { extent: undefined, error: undefined };
      this.#pending.set(cookie, {
        command,
        offset,
        length,
        views: targets,
        coverage,
        ...state,
        resolve,
        reject,
      });
    });
    const header = requestHeader(command, flags, cookie, offset, length);
    if (command === CMD_READ || views.length === 0) {
      this.#channel.send([header]);
      return answered;
    }
    // A server may answer before it has read everything; the caller's bytes are in use until they are sent.
    const sent = new Promise<void>((resolve) => {
      this.#channel.send([header, ...views], () => resolve());
    });
    return answered.finally(() => sent);
  }

  /** Disconnects. Requests in flight fail. */
  async close(): Promise<void> {
    if (this.#failure === undefined) {
      this.#channel.send([requestHeader(CMD_DISC, 0, 0, 0, 0)]);
      this.#fail(new NbdError(this.#where, "the disk was closed"));
      this.#channel.end();
    }
    await this.#done;
  }

  async #run(): Promise<void> {
    try {
      for (;;) await this.#takeReply();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (this.#failure !== undefined) return; // closed here
      const failure = error instanceof NbdError ? error : new NbdError(this.#where, why);
      this.#fail(failure);
      this.#channel.destroy(failure);
    }
  }

  #fail(failure: NbdError): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    for (const { command, reject } of this.#pending.values()) reject(this.#lost(command, failure));
    this.#pending.clear();
  }

  /** For waiting requests it is an I/O error, whatever broke the connection. */
  #lost(command: number, { why }: NbdError): NbdError {
    return new NbdError(this.#where, `no ${NAMES[command]}, the connection is lost: ${why}`);
  }

  async #takeReply(): Promise<void> {
    const header = await this.#channel.take(SIMPLE_REPLY_BYTES);
    const magic = header.readUInt32BE(0);
    const cookieOf = (bytes: Buffer) => {
      const high = bytes.readUInt32BE(8);
      return high === 0 ? bytes.readUInt32BE(12) : -1;
    };
    if (magic === SIMPLE_REPLY_MAGIC) {
      await this.#simple(cookieOf(header), header.readUInt32BE(4));
    } else if (magic === STRUCTURED_REPLY_MAGIC && this.facts.structured) {
      const length = (await this.#channel.take(STRUCTURED_REPLY_BYTES - SIMPLE_REPLY_BYTES)).readUInt32BE(0);
      await this.#chunk(cookieOf(header), header.readUInt16BE(4), header.readUInt16BE(6), length);
    } else {
      throw violation(this.#where, "the magic number of a reply");
    }
  }

  #find(cookie: number): Pending {
    const pending = this.#pending.get(cookie);
    if (pending === undefined) throw violation(this.#where, "a reply to what was not asked");
    return pending;
  }

  async #simple(cookie: number, error: number): Promise<void> {
    const pending = this.#find(cookie);
    const { command, length, views } = pending;
    if (error === 0 && this.facts.structured && (command === CMD_READ || command === CMD_BLOCK_STATUS)) {
      throw violation(this.#where, `a simple reply to ${NAMES[command]}`);
    }
    if (error === 0 && command === CMD_READ) await this.#fill(views, 0, length);
    this.#pending.delete(cookie);
    if (error === 0) pending.resolve(undefined);
    else pending.reject(this.#refused(pending, error));
  }

  async #chunk(cookie: number, flags: number, type: number, length: number): Promise<void> {
    const pending = this.#find(cookie);
    if (type & REPLY_TYPE_IS_ERROR) await this.#errorChunk(pending, type, length);
    else if (type === REPLY_TYPE_OFFSET_DATA) await this.#dataChunk(pending, length);
    else if (type === REPLY_TYPE_OFFSET_HOLE) await this.#holeChunk(pending, length);
    else if (type === REPLY_TYPE_BLOCK_STATUS) await this.#statusChunk(pending, length);
    else if (type !== REPLY_TYPE_NONE || length !== 0 || !(flags & REPLY_FLAG_DONE)) {
      throw violation(this.#where, `a reply of type ${type} and ${length} bytes`);
    }
    if (!(flags & REPLY_FLAG_DONE)) return;
    const { command, coverage, error, extent } = pending;
    if (error === undefined && !coverage.isComplete) throw violation(this.#where, "a read that lacks bytes");
    if (error === undefined && command === CMD_BLOCK_STATUS && extent === undefined) {
      throw violation(this.#where, "a block status without a status");
    }
    this.#pending.delete(cookie);
    if (error === undefined) pending.resolve(extent);
    else pending.reject(error);
  }

  async #errorChunk(pending: Pending, type: number, length: number): Promise<void> {
    const tail = type === REPLY_TYPE_ERROR_OFFSET ? 8 : 0;
    if (length < 6 + tail || length > 6 + MAX_STRING + tail) {
      throw violation(this.#where, `an error of ${length} bytes`);
    }
    const bytes = await this.#channel.take(length);
    const messageLength = bytes.readUInt16BE(4);
    const isKnown = type === REPLY_TYPE_ERROR || type === REPLY_TYPE_ERROR_OFFSET;
    if (isKnown && messageLength !== length - 6 - tail)
      throw violation(this.#where, "the length of an error");
    const message = isKnown ? bytes.subarray(6, 6 + messageLength) : bytes.subarray(0, 0);
    pending.error ??= this.#refused(pending, bytes.readUInt32BE(0), message);
  }

  async #dataChunk(pending: Pending, length: number): Promise<void> {
    if (length <= 8) throw violation(this.#where, "data without bytes");
    const start = this.#claim(pending, await this.#channel.take(8), length - 8);
    await this.#fill(pending.views, start, length - 8);
  }

  async #holeChunk(pending: Pending, length: number): Promise<void> {
    if (length !== 12) throw violation(this.#where, `a hole in ${length} bytes`);
    const bytes = await this.#channel.take(12);
    const size = bytes.readUInt32BE(8);
    for (const piece of pieces(pending.views, this.#claim(pending, bytes, size), size)) piece.fill(0);
  }

  /** Counts a chunk as arrived. Returns its offset in the requested range. */
  #claim({ command, offset, coverage }: Pending, place: Buffer, length: number): number {
    if (command !== CMD_READ) throw violation(this.#where, `data for a ${NAMES[command]}`);
    // An offset that is not exact as a number is far outside the request.
    const start = Number(place.readBigUInt64BE(0)) - offset;
    if (!coverage.add(start, length)) {
      throw violation(
        this.#where,
        "data that was not asked for, or came before, or comes in too many pieces",
      );
    }
    return start;
  }

  async #statusChunk(pending: Pending, length: number): Promise<void> {
    const { command, extent } = pending;
    if (command !== CMD_BLOCK_STATUS || extent !== undefined) {
      throw violation(this.#where, "a block status that was not asked for");
    }
    // One was requested, and a server must not send more; but some old ones do.
    if (length < 12 || length % 8 !== 4 || length > 4 + 8 * 1024) {
      throw violation(this.#where, `a block status of ${length} bytes`);
    }
    const bytes = await this.#channel.take(length);
    if (bytes.readUInt32BE(0) !== this.facts.allocationId) {
      throw violation(this.#where, "a block status of another context");
    }
    const size = bytes.readUInt32BE(4);
    const state = bytes.readUInt32BE(8);
    if (size === 0) throw violation(this.#where, "a block status of no bytes");
    pending.extent = {
      length: Math.min(size, pending.length),
      zero: (state & STATE_ZERO) !== 0,
      hole: (state & STATE_HOLE) !== 0,
    };
  }

  async #fill(views: readonly Uint8Array[], start: number, length: number): Promise<void> {
    for (const piece of pieces(views, start, length)) await this.#channel.fill(piece);
  }

  #refused({ command, offset, length }: Pending, error: number, message?: Uint8Array): NbdError {
    const said = message === undefined || message.length === 0 ? "" : `; it says "${quoted(message)}"`;
    const what = `${NAMES[command]} of ${length} bytes at ${offset} failed there${said}`;
    return new NbdError(this.#where, what, errnoOnWire(error));
  }
}

function requestHeader(
  command: number,
  flags: number,
  cookie: number,
  offset: number,
  length: number,
): Buffer {
  const header = Buffer.allocUnsafe(REQUEST_BYTES);
  header.writeUInt32BE(REQUEST_MAGIC, 0);
  header.writeUInt16BE(flags, 4);
  header.writeUInt16BE(command, 6);
  header.writeUInt32BE(0, 8);
  header.writeUInt32BE(cookie, 12);
  header.writeUInt32BE(Math.floor(offset / TWO_32), 16);
  header.writeUInt32BE(offset % TWO_32, 20);
  header.writeUInt32BE(length, 24);
  return header;
}

/** The parts of `views` with the bytes `start` to `start + length` of their concatenation. */
export function* pieces(views: readonly Uint8Array[], start: number, length: number): Generator<Uint8Array> {
  let before = 0;
  const end = start + length;
  for (const view of views) {
    if (before >= end) return;
    const from = Math.max(start - before, 0);
    const to = Math.min(end - before, view.length);
    if (from < to) yield from === 0 && to === view.length ? view : view.subarray(from, to);
    before += view.length;
  }
}
