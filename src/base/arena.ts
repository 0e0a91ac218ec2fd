/**
 * Allocates the state blocks of a machine in one SharedArrayBuffer.
 *
 * Every thread makes an Arena over the same buffer and asks for the same blocks
 * in the same order, so all get the same offsets without communication.
 * The list of blocks is what a snapshot copies.
 */
import type { Fields, Layout, View } from "./layout.ts";
import { Lock } from "./lock.ts";

/** One block: its owner, its layout, its place. Offsets and lengths are in bytes. */
export interface Block {
  readonly owner: string;
  readonly layout: string;
  readonly version: number;
  readonly offset: number;
  readonly length: number;
}

const ALIGNMENT = 64; // a cache line, so that two devices never share one

export class Arena {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #blocks: Block[] = [];
  readonly #locks: Lock[] = [];
  #end = 0;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** A view of the next block. @throws {RangeError} when the arena is full. */
  take<const F extends Fields>(layout: Layout<F>, owner: string): View<F> {
    const offset = this.#reserve(layout.size, owner);
    this.#blocks.push({ owner, layout: layout.name, version: layout.version, offset, length: layout.size });
    return layout.view(this.buffer, offset);
  }

  /** A lock in a cache line of its own. */
  takeLock(owner: string): Lock {
    const lock = new Lock(this.#words, this.#reserve(4, owner) / 4);
    this.#locks.push(lock);
    return lock;
  }

  /** `count` 64-bit counters, each written by one thread and read by any. Not part of a snapshot. */
  takeCounters(count: number, owner: string): Float64Array {
    return new Float64Array(this.buffer, this.#reserve(count * 8, owner), count);
  }

  /** Raw shared words for control blocks and rings. Not part of a snapshot. */
  takeWords(count: number, owner: string): Int32Array {
    return new Int32Array(this.buffer, this.#reserve(count * 4, owner), count);
  }

  get blocks(): readonly Block[] {
    return this.#blocks;
  }

  /** All are free while no thread is in a device. */
  get locks(): readonly Lock[] {
    return this.#locks;
  }

  #reserve(bytes: number, owner: string): number {
    const offset = this.#end;
    this.#end = Math.ceil((offset + bytes) / ALIGNMENT) * ALIGNMENT;
    if (offset + bytes > this.buffer.byteLength) {
      throw new RangeError(`${owner}: the machine's state outgrew its ${this.buffer.byteLength} bytes`);
    }
    return offset;
  }
}
