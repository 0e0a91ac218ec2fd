/**
 * One request taken from a virtqueue: guest memory to read, then guest memory
 * to write. Every buffer in it is checked RAM; a device never sees a guest
 * address.
 *
 * A chain is reused for every request, so that nothing is allocated while a
 * queue runs. A device takes its header off the front and its status off the
 * back, which VIRTIO 1.2, 2.7.4 (Message Framing) allows the driver to place in
 * any number of descriptors, and passes the rest to its back end as it is.
 */
import { Pieces } from "../../base/pieces.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";

/** The driver violated a rule of the ring, which the message names. The device needs a reset (2.1.2). */
export class BrokenQueue extends Error {
  override readonly name = "BrokenQueue";
  readonly code = "EQUEUE";
}

/** The specification's bound on the bytes of one chain (2.7.5.1). */
const MAX_BYTES = 2 ** 32;

export class Chain {
  /** The descriptor that names this request to the driver. */
  head = 0;
  /** Pairs of RAM offset and length in bytes, as native I/O takes them. */
  readonly iov: Float64Array;
  /** Buffers [first, firstWritable) are for the device to read, [firstWritable, end) for it to write. */
  first = 0;
  firstWritable = 0;
  end = 0;
  readableBytes = 0;
  writableBytes = 0;
  readonly capacity: number;
  readonly #memory: GuestMemory;
  readonly #readable: Pieces;
  readonly #writable: Pieces;
  /** Where the readable bytes end, if some were forgotten. */
  #readableEnd: number | undefined;

  /** @param capacity buffers that one request may have. */
  constructor(memory: GuestMemory, capacity: number) {
    this.#memory = memory;
    this.capacity = capacity;
    this.iov = new Float64Array(2 * capacity);
    this.#readable = new Pieces(this.iov, 0);
    this.#writable = new Pieces(this.iov, 0);
  }

  /** The bytes for the device to read that were not taken yet. Valid until the chain changes. */
  get readable(): Pieces {
    this.#readable.first = this.first;
    this.#readable.count = (this.#readableEnd ?? this.firstWritable) - this.first;
    return this.#readable;
  }

  /** The bytes for the device to write. Valid until the chain changes. */
  get writable(): Pieces {
    this.#writable.first = this.firstWritable;
    this.#writable.count = this.end - this.firstWritable;
    return this.#writable;
  }

  /** Forgets the previous request. */
  start(head: number): void {
    this.head = head;
    this.#readableEnd = undefined;
    this.first = 0;
    this.firstWritable = 0;
    this.end = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /** Appends the buffer of a descriptor, after checking it. Any numbers may be given. */
  add(address: number, length: number, writable: boolean): void {
    if (this.end === this.capacity) {
      throw new BrokenQueue(`the chain at ${this.head} has more than ${this.capacity} buffers`);
    }
    if (length === 0) throw new BrokenQueue(`the chain at ${this.head} has a buffer of no bytes`);
    const offset = this.#memory.translate(address, length);
    if (offset < 0) {
      throw new BrokenQueue(
        `the chain at ${this.head} has ${length} bytes at 0x${address.toString(16)}, which is not all RAM`,
      );
    }
    this.iov[2 * this.end] = offset;
    this.iov[2 * this.end + 1] = length;
    this.end++;
    if (writable) {
      this.writableBytes += length;
    } else {
      if (this.firstWritable !== this.end - 1) {
        throw new BrokenQueue(`the chain at ${this.head} has a buffer to read after one to write`);
      }
      this.firstWritable = this.end;
      this.readableBytes += length;
    }
    if (this.readableBytes + this.writableBytes > MAX_BYTES) {
      throw new BrokenQueue(`the chain at ${this.head} is longer than 4 GiB`);
    }
  }

  /** Takes the next `into.length` readable bytes off the front. @throws {BrokenQueue} if there are fewer. */
  takeReadable(into: Uint8Array, what: string): void {
    if (this.readableBytes < into.length) {
      throw new BrokenQueue(`the chain at ${this.head} has no room for ${what} of ${into.length} bytes`);
    }
    const iov = this.iov;
    for (let done = 0; done < into.length; ) {
      const pair = 2 * this.first;
      const offset = iov[pair];
      const part = Math.min(iov[pair + 1], into.length - done);
      for (let i = 0; i < part; i++) into[done + i] = this.#memory.getUint8(offset + i);
      done += part;
      if (part === iov[pair + 1]) {
        this.first++;
      } else {
        iov[pair] = offset + part;
        iov[pair + 1] -= part;
      }
    }
    this.readableBytes -= into.length;
  }

  /**
   * Takes the next `length` writable bytes off the front, as pairs of RAM offset and length in `into` from `at`
   * on. @returns how many pairs @throws {BrokenQueue} if there are fewer bytes, or more than `most` pairs of them
   */
  takeWritable(length: number, into: Float64Array, at: number, most: number, what: string): number {
    if (this.writableBytes < length) {
      throw new BrokenQueue(`the chain at ${this.head} has no room for ${what} of ${length} bytes`);
    }
    const iov = this.iov;
    let pairs = 0;
    for (let left = length; left > 0; pairs++) {
      if (pairs === most) throw new BrokenQueue(`the chain at ${this.head} has ${what} in too many buffers`);
      const pair = 2 * this.firstWritable;
      const part = Math.min(iov[pair + 1], left);
      into[at + 2 * pairs] = iov[pair];
      into[at + 2 * pairs + 1] = part;
      left -= part;
      if (part === iov[pair + 1]) {
        this.firstWritable++;
      } else {
        iov[pair] += part;
        iov[pair + 1] -= part;
      }
    }
    this.writableBytes -= length;
    return pairs;
  }

  /** Forgets readable bytes beyond the first `length`, which are not fewer. */
  keepReadable(length: number): void {
    this.#readableEnd = this.first + this.#cut(this.first, this.firstWritable, length);
    this.readableBytes = length;
  }

  /** The same for writable bytes. */
  keepWritable(length: number): void {
    this.end = this.firstWritable + this.#cut(this.firstWritable, this.end, length);
    this.writableBytes = length;
  }

  /** Shortens the buffers [from, to) to `length` bytes together. @returns how many are left */
  #cut(from: number, to: number, length: number): number {
    let left = length;
    let count = 0;
    for (let index = from; index < to && left > 0; index++, count++) {
      this.iov[2 * index + 1] = Math.min(this.iov[2 * index + 1], left);
      left -= this.iov[2 * index + 1];
    }
    return count;
  }

  /** Takes the last writable byte off the back: its RAM offset. @throws {BrokenQueue} if there is none. */
  takeLastWritable(what: string): number {
    if (this.writableBytes === 0) {
      throw new BrokenQueue(`the chain at ${this.head} has no room for ${what}`);
    }
    const pair = 2 * (this.end - 1);
    this.writableBytes--;
    this.iov[pair + 1]--;
    const offset = this.iov[pair] + this.iov[pair + 1];
    if (this.iov[pair + 1] === 0) this.end--;
    return offset;
  }

  /** Writes `bytes` at the front of the writable part, as many as fit; returns how many. For a few bytes. */
  write(bytes: Uint8Array): number {
    let done = 0;
    for (let index = this.firstWritable; index < this.end && done < bytes.length; index++) {
      const offset = this.iov[2 * index];
      const part = Math.min(this.iov[2 * index + 1], bytes.length - done);
      for (let i = 0; i < part; i++) this.#memory.setUint8(offset + i, bytes[done + i]);
      done += part;
    }
    return done;
  }
}
