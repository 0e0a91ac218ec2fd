/**
 * A bounded cache of pieces of tables in the image file: L2 tables or refcount
 * blocks. A hit costs a hash and allocates nothing.
 *
 * The cache does not know the order in which changes may reach the file: before it
 * evicts a changed slice, it calls `clean`, which has to write the slice back.
 *
 * Replacement is by second chance (the clock algorithm).
 */
import type { HostFile } from "../sys/file.ts";

const NONE = -1;

export class TableCache {
  /** The consecutive slots: slot n is at n * sliceBytes. The bytes are as in the file. */
  readonly view: DataView;
  readonly sliceBytes: number;
  readonly #file: HostFile;
  readonly #bytes: Uint8Array;
  readonly #clean: (slot: number) => void;
  readonly #slots: number;
  /** By slot: offset of its slice in the file, or NONE. */
  readonly #keys: Float64Array;
  readonly #dirty: Uint8Array;
  readonly #used: Uint8Array;
  /** Chains of slots by hash. */
  readonly #buckets: Int32Array;
  readonly #next: Int32Array;
  readonly #perSlice: number;
  #dirtyCount = 0;
  #hand = 0;
  #last = 0;

  /**
   * @param sliceBytes a power of two
   * @param slots at least 1
   * @param clean makes a changed slot clean, by `writeBack` or `writeBackAll`
   */
  constructor(file: HostFile, sliceBytes: number, slots: number, clean: (slot: number) => void) {
    this.#file = file;
    this.sliceBytes = sliceBytes;
    this.#slots = slots;
    this.#clean = clean;
    this.#bytes = new Uint8Array(slots * sliceBytes);
    this.view = new DataView(this.#bytes.buffer);
    this.#keys = new Float64Array(slots).fill(NONE);
    this.#dirty = new Uint8Array(slots);
    this.#used = new Uint8Array(slots);
    this.#buckets = new Int32Array(2 ** Math.ceil(Math.log2(slots + 1))).fill(NONE);
    this.#next = new Int32Array(slots).fill(NONE);
    this.#perSlice = 1 / sliceBytes;
  }

  /** The capacity of the cache in bytes. */
  get bytes(): number {
    return this.#bytes.length;
  }

  get isDirty(): boolean {
    return this.#dirtyCount > 0;
  }

  /**
   * The offset in `view` of the slice at `offset` of the file, which is read if
   * necessary; beyond the end of the file it is zero. Valid until the next call.
   * @throws {SystemError} if the file cannot be read, or a changed slice not be written.
   */
  at(offset: number): number {
    if (this.#keys[this.#last] === offset) return this.#last * this.sliceBytes;
    let slot = this.#find(offset);
    if (slot === NONE) slot = this.#load(offset);
    this.#used[slot] = 1;
    this.#last = slot;
    return slot * this.sliceBytes;
  }

  /** Marks the slice that `at` returned last as changed. */
  touch(): void {
    if (this.#dirty[this.#last] === 0) this.#dirtyCount++;
    this.#dirty[this.#last] = 1;
  }

  /** Writes one slot to the file. @throws {SystemError} */
  writeBack(slot: number): void {
    if (this.#dirty[slot] === 0) return;
    const start = slot * this.sliceBytes;
    this.#file.write(this.#bytes.subarray(start, start + this.sliceBytes), this.#keys[slot]);
    this.#dirty[slot] = 0;
    this.#dirtyCount--;
  }

  /** Writes all changes to the file. @throws {SystemError} then the rest is not written yet. */
  writeBackAll(): void {
    for (let slot = 0; slot < this.#slots && this.#dirtyCount > 0; slot++) this.writeBack(slot);
  }

  /** Drops cached slices of a range of the file, including changes, because the range is not a table any more. */
  drop(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += this.sliceBytes) {
      const slot = this.#find(at);
      if (slot !== NONE) this.#forget(slot);
    }
  }

  /** Drops everything, including changes. */
  dropAll(): void {
    for (let slot = 0; slot < this.#slots; slot++) if (this.#keys[slot] !== NONE) this.#forget(slot);
  }

  #bucketOf(offset: number): number {
    return (offset * this.#perSlice) & (this.#buckets.length - 1);
  }

  #find(offset: number): number {
    let slot = this.#buckets[this.#bucketOf(offset)];
    while (slot !== NONE && this.#keys[slot] !== offset) slot = this.#next[slot];
    return slot;
  }

  #load(offset: number): number {
    const slot = this.#victim();
    if (this.#dirty[slot] !== 0) this.#clean(slot);
    if (this.#dirty[slot] !== 0) throw new Error("a changed slice was evicted");
    if (this.#keys[slot] !== NONE) this.#forget(slot);
    const bytes = this.#bytes.subarray(slot * this.sliceBytes, (slot + 1) * this.sliceBytes);
    bytes.fill(0, this.#file.read(bytes, offset));
    const bucket = this.#bucketOf(offset);
    this.#keys[slot] = offset;
    this.#next[slot] = this.#buckets[bucket];
    this.#buckets[bucket] = slot;
    return slot;
  }

  #victim(): number {
    for (;;) {
      const slot = this.#hand;
      this.#hand = slot + 1 === this.#slots ? 0 : slot + 1;
      if (this.#used[slot] === 0) return slot;
      this.#used[slot] = 0;
    }
  }

  #forget(slot: number): void {
    const bucket = this.#bucketOf(this.#keys[slot]);
    if (this.#buckets[bucket] === slot) {
      this.#buckets[bucket] = this.#next[slot];
    } else {
      let before = this.#buckets[bucket];
      while (this.#next[before] !== slot) before = this.#next[before];
      this.#next[before] = this.#next[slot];
    }
    this.#keys[slot] = NONE;
    this.#used[slot] = 0;
    if (this.#dirty[slot] !== 0) this.#dirtyCount--;
    this.#dirty[slot] = 0;
  }
}
