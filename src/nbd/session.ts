/**
 * The server's side of an open export: requests in, replies out.
 *
 * Requests are served as they arrive, several at once. Their memory is bounded: while
 * a client has MAX_REQUESTS in flight, or MAX_BYTES of their data, the server does not
 * read from it. A request counts until its reply is sent, so a client that does not
 * read its replies blocks only itself.
 *
 * Source: "The NBD protocol", sections "Request types", "Structured reply types".
 */

import { constants } from "node:os";
import { SECTOR } from "../base/units.ts";
import type { DiskFacts } from "../disk/disk-facts.ts";
import { type DiskSource, errnoOf } from "../disk/disk-source.ts";
import { ZEROS } from "../disk/zeros.ts";
import type { ByteChannel } from "./byte-channel.ts";
import { violation } from "./nbd-error.ts";
import { ALLOCATION_ID, type Terms } from "./offer.ts";
import {
  CMD_BLOCK_STATUS,
  CMD_DISC,
  CMD_FLAG_DF,
  CMD_FLAG_FUA,
  CMD_FLAG_NO_HOLE,
  CMD_FLAG_REQ_ONE,
  CMD_FLUSH,
  CMD_READ,
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  MAX_PAYLOAD,
  REPLY_FLAG_DONE,
  REPLY_TYPE_BLOCK_STATUS,
  REPLY_TYPE_ERROR,
  REPLY_TYPE_NONE,
  REPLY_TYPE_OFFSET_DATA,
  REQUEST_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STATE_HOLE,
  STATE_ZERO,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
  wireError,
} from "./protocol.ts";

const MAX_REQUESTS = 64;
/** One request of the largest size, or many smaller ones. */
const MAX_BYTES = MAX_PAYLOAD;
const MAX_EXTENTS = 512;
const { EINVAL, EPERM, ENOSPC } = constants.errno;

interface Request {
  readonly command: number;
  readonly flags: number;
  readonly cookie: bigint;
  /** Exact if it is within the disk. */
  readonly offset: number;
  readonly length: number;
}

/** The reply to a request. */
interface Answer {
  readonly type: number;
  readonly pieces: readonly Uint8Array[];
}

const DONE: Answer = { type: REPLY_TYPE_NONE, pieces: [] };

/** Serves a client until it disconnects. @throws if it violates the protocol, or the connection is lost */
export function serveRequests(
  channel: ByteChannel,
  where: string,
  disk: DiskSource,
  facts: DiskFacts,
  terms: Terms,
): Promise<void> {
  return new Session(channel, where, disk, facts, terms).run();
}

class Session {
  readonly #channel: ByteChannel;
  readonly #where: string;
  readonly #disk: DiskSource;
  readonly #facts: DiskFacts;
  readonly #terms: Terms;
  #requests = 0;
  #bytes = 0;
  /** Resolves the wait for fewer requests in flight. */
  #lessened: () => void = () => {};

  constructor(channel: ByteChannel, where: string, disk: DiskSource, facts: DiskFacts, terms: Terms) {
    this.#channel = channel;
    this.#where = where;
    this.#disk = disk;
    this.#facts = facts;
    this.#terms = terms;
  }

  async run(): Promise<void> {
    try {
      while (await this.#takeRequest());
    } finally {
      // No request of the client is in flight after this.
      while (this.#requests > 0) await this.#less();
    }
  }

  /** False at the end. */
  async #takeRequest(): Promise<boolean> {
    const header = await this.#channel.take(REQUEST_BYTES);
    if (header.readUInt32BE(0) !== REQUEST_MAGIC)
      throw violation(this.#where, "the magic number of a request");
    const request = {
      flags: header.readUInt16BE(4),
      command: header.readUInt16BE(6),
      cookie: header.readBigUInt64BE(8),
      offset: Number(header.readBigUInt64BE(16)),
      length: header.readUInt32BE(24),
    };
    const { command, length } = request;
    if (command === CMD_DISC) return false;
    const refusal = this.#refusal(request);
    const carries = refusal === 0 && (command === CMD_READ || command === CMD_WRITE);
    const held = carries ? length : 0;
    while (this.#requests >= MAX_REQUESTS || this.#bytes + held > MAX_BYTES) {
      if (this.#channel.failure !== undefined) throw this.#channel.failure;
      await this.#less();
    }
    let data: Uint8Array = ZEROS.subarray(0, 0);
    if (command === CMD_WRITE && refusal !== 0) {
      // Beyond the largest payload it is an attack, and reading it would take long.
      if (length > MAX_PAYLOAD) throw violation(this.#where, `a write of ${length} bytes`);
      await this.#channel.skip(length);
    } else if (carries) {
      // Cleared, so that bytes which a disk does not fill never reveal this program's memory.
      data = Buffer.alloc(length);
      if (command === CMD_WRITE) await this.#channel.fill(data);
    }
    this.#requests++;
    this.#bytes += held;
    void this.#answer(request, refusal, data).then(({ errno, answer }) => {
      this.#send(request, errno, answer, () => {
        this.#requests--;
        this.#bytes -= held;
        this.#lessened();
      });
    });
    return true;
  }

  /** -errno for a request that is refused. */
  #refusal({ command, flags, offset, length }: Request): number {
    const { size, readOnly } = this.#facts;
    const known = KNOWN_FLAGS.get(command);
    if (known === undefined || flags & ~known) return -EINVAL;
    if (command === CMD_FLUSH) return offset === 0 && length === 0 ? 0 : -EINVAL;
    const writes = command === CMD_WRITE || command === CMD_TRIM || command === CMD_WRITE_ZEROES;
    if (writes && readOnly) return -EPERM;
    if (length === 0 || offset % SECTOR !== 0 || length % SECTOR !== 0) return -EINVAL;
    if (offset + length > size)
      return command === CMD_WRITE || command === CMD_WRITE_ZEROES ? -ENOSPC : -EINVAL;
    if ((command === CMD_READ || command === CMD_WRITE) && length > MAX_PAYLOAD) return -EINVAL;
    if (command === CMD_BLOCK_STATUS && !this.#terms.allocation) return -EINVAL;
    return 0;
  }

  async #answer(
    request: Request,
    refusal: number,
    data: Uint8Array,
  ): Promise<{ readonly errno: number; readonly answer: Answer }> {
    if (refusal !== 0) return { errno: refusal, answer: DONE };
    try {
      const answer = await this.#perform(request, data);
      if (request.flags & CMD_FLAG_FUA && request.command !== CMD_READ) await this.#disk.flush?.();
      return { errno: 0, answer };
    } catch (error) {
      return { errno: errnoOf(error), answer: DONE };
    }
  }

  async #perform({ command, flags, offset, length }: Request, data: Uint8Array): Promise<Answer> {
    const disk = this.#disk;
    switch (command) {
      case CMD_READ:
        await disk.read(offset, [data]);
        return { type: REPLY_TYPE_OFFSET_DATA, pieces: [uint64(offset), data] };
      case CMD_WRITE:
        await disk.write?.(offset, [data]);
        return DONE;
      case CMD_FLUSH:
        await disk.flush?.();
        return DONE;
      case CMD_TRIM:
        await disk.discard?.(offset, length);
        return DONE;
      case CMD_WRITE_ZEROES:
        await this.#writeZeroes(offset, length, (flags & CMD_FLAG_NO_HOLE) === 0);
        return DONE;
      default:
        return this.#status(offset, length, (flags & CMD_FLAG_REQ_ONE) !== 0 ? 1 : MAX_EXTENTS);
    }
  }

  async #writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    const disk = this.#disk;
    if (disk.writeZeroes !== undefined) return disk.writeZeroes(offset, length, mayUnmap);
    for (let done = 0; done < length; done += ZEROS.length) {
      await disk.write?.(offset + done, [ZEROS.subarray(0, Math.min(ZEROS.length, length - done))]);
    }
  }

  async #status(offset: number, length: number, most: number): Promise<Answer> {
    const extents: { length: number; state: number }[] = [];
    for (let at = 0; at < length && extents.length < most; ) {
      const found = (await this.#disk.extentAt?.(offset + at, length - at)) ?? {
        length: length - at,
        zero: false,
        hole: false,
      };
      // If a source returns an invalid extent, the rest counts as data.
      const isSensible = Number.isInteger(found.length) && found.length > 0;
      const run = isSensible ? Math.min(found.length, length - at) : length - at;
      const state = isSensible ? (found.hole ? STATE_HOLE : 0) | (found.zero ? STATE_ZERO : 0) : 0;
      const last = extents.at(-1);
      if (last?.state === state) last.length += run;
      else extents.push({ length: run, state });
      at += run;
    }
    const bytes = Buffer.alloc(4 + 8 * extents.length);
    bytes.writeUInt32BE(ALLOCATION_ID, 0);
    extents.forEach((extent, n) => {
      bytes.writeUInt32BE(extent.length, 4 + 8 * n);
      bytes.writeUInt32BE(extent.state, 8 + 8 * n);
    });
    return { type: REPLY_TYPE_BLOCK_STATUS, pieces: [bytes] };
  }

  #send({ command, cookie }: Request, errno: number, answer: Answer, sent: () => void): void {
    const error = errno === 0 ? 0 : wireError(errno);
    const isLarge = command === CMD_READ || command === CMD_BLOCK_STATUS;
    if (!this.#terms.structured || !isLarge) {
      const header = Buffer.alloc(SIMPLE_REPLY_BYTES);
      header.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
      header.writeUInt32BE(error, 4);
      header.writeBigUInt64BE(cookie, 8);
      // Without the offset, which only a structured reply has.
      this.#channel.send([header, ...answer.pieces.slice(1)], sent);
      return;
    }
    const pieces = error === 0 ? answer.pieces : [errorPayload(error)];
    const header = Buffer.alloc(STRUCTURED_REPLY_BYTES);
    header.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0);
    header.writeUInt16BE(REPLY_FLAG_DONE, 4);
    header.writeUInt16BE(error === 0 ? answer.type : REPLY_TYPE_ERROR, 6);
    header.writeBigUInt64BE(cookie, 8);
    header.writeUInt32BE(
      pieces.reduce((sum, { length }) => sum + length, 0),
      16,
    );
    this.#channel.send([header, ...pieces], sent);
  }

  #less(): Promise<void> {
    return new Promise((resolve) => {
      this.#lessened = resolve;
    });
  }
}

/** Flags that each command may have. */
const KNOWN_FLAGS: ReadonlyMap<number, number> = new Map([
  [CMD_READ, CMD_FLAG_FUA | CMD_FLAG_DF],
  [CMD_WRITE, CMD_FLAG_FUA],
  [CMD_FLUSH, CMD_FLAG_FUA],
  [CMD_TRIM, CMD_FLAG_FUA],
  [CMD_WRITE_ZEROES, CMD_FLAG_FUA | CMD_FLAG_NO_HOLE],
  [CMD_BLOCK_STATUS, CMD_FLAG_FUA | CMD_FLAG_REQ_ONE],
]);

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** An error without a message. */
function errorPayload(error: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt32BE(error, 0);
  return bytes;
}
