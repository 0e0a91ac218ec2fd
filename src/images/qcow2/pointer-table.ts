/**
 * A table of 8-byte pointers that is kept whole in memory: the L1 table or the
 * refcount table. Changes reach the file when `writeBack` is called.
 *
 * Source: QEMU docs/interop/qcow2.txt, L1 table entry and Refcount table entry.
 */
import type { HostFile } from "../../sys/file.ts";

/** Bit 63 of an entry of the L1 or an L2 table, in its high word: the refcount is exactly 1. */
export const COPIED = 0x8000_0000;
/** Bits 9 to 55 hold the offset: these of the high word, and those of the low. */
export const OFFSET_HIGH = 0x00ff_ffff;
export const OFFSET_LOW = 0xffff_fe00;

export class PointerTable {
  /** Where it lies in the file. */
  readonly offset: number;
  /** Entries. */
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #dirtyFrom = Number.POSITIVE_INFINITY;
  #dirtyTo = 0;

  /** An empty table; `read` fills it. */
  constructor(offset: number, size: number) {
    this.offset = offset;
    this.size = size;
    this.#bytes = new Uint8Array(size * 8);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Reads a table; what is beyond the end of the file is empty. @throws {SystemError} */
  static read(file: HostFile, offset: number, size: number): PointerTable {
    const table = new PointerTable(offset, size);
    if (size > 0) file.read(table.#bytes, offset);
    return table;
  }

  get isDirty(): boolean {
    return this.#dirtyTo > 0;
  }

  /** Bytes in the file. */
  get length(): number {
    return this.#bytes.length;
  }

  high(index: number): number {
    return this.#view.getUint32(8 * index);
  }

  low(index: number): number {
    return this.#view.getUint32(8 * index + 4);
  }

  /** The offset that an entry holds; 0 if it points nowhere. */
  pointer(index: number): number {
    const view = this.#view;
    return (
      (view.getUint32(8 * index) & OFFSET_HIGH) * 2 ** 32 +
      ((view.getUint32(8 * index + 4) & OFFSET_LOW) >>> 0)
    );
  }

  isCopied(index: number): boolean {
    return (this.#view.getUint32(8 * index) & COPIED) !== 0;
  }

  set(index: number, offset: number, copied: boolean): void {
    this.#view.setUint32(8 * index, Math.floor(offset / 2 ** 32) | (copied ? COPIED : 0));
    this.#view.setUint32(8 * index + 4, offset % 2 ** 32);
    this.#dirtyFrom = Math.min(this.#dirtyFrom, index);
    this.#dirtyTo = Math.max(this.#dirtyTo, index + 1);
  }

  /** Takes over the entries of another table, as far as both reach. */
  copyFrom(other: PointerTable): void {
    this.#bytes.set(other.#bytes.subarray(0, this.#bytes.length));
  }

  /** Brings changed entries to the file. @throws {SystemError} */
  writeBack(file: HostFile): void {
    if (!this.isDirty) return;
    file.write(
      this.#bytes.subarray(8 * this.#dirtyFrom, 8 * this.#dirtyTo),
      this.offset + 8 * this.#dirtyFrom,
    );
    this.#clean();
  }

  /** Writes all of it, at any place. @throws {SystemError} */
  writeTo(file: HostFile, offset: number): void {
    if (this.#bytes.length > 0) file.write(this.#bytes, offset);
    if (offset === this.offset) this.#clean();
  }

  #clean(): void {
    this.#dirtyFrom = Number.POSITIVE_INFINITY;
    this.#dirtyTo = 0;
  }
}
