/**
 * The contents of one dirty bitmap, in memory: a bit for each `granularity` bytes of
 * the disk, set if any of them was written since somebody cleared it.
 *
 * Bit n is bit n % 8 of byte n / 8, as the bitmap lies in the file.
 * Source: QEMU docs/interop/qcow2.txt, Bitmap data.
 */
export class DirtyBits {
  readonly granularity: number;
  #size: number;
  #bytes: Uint8Array;

  /** @param size bytes of the disk; `granularity` is a power of two */
  constructor(size: number, granularity: number) {
    this.granularity = granularity;
    this.#size = size;
    this.#bytes = new Uint8Array(Math.ceil(Math.ceil(size / granularity) / 8));
  }

  /** As they lie in the file, but for the padding of the last cluster. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get #count(): number {
    return Math.ceil(this.#size / this.granularity);
  }

  /** `length` bytes from `offset` on were written. */
  mark(offset: number, length: number): void {
    if (length > 0) {
      const first = Math.floor(offset / this.granularity);
      const last = Math.floor((offset + length - 1) / this.granularity);
      this.#set(first, Math.min(last, this.#count - 1));
    }
  }

  markAll(): void {
    this.mark(0, this.#size);
  }

  clear(): void {
    this.#bytes.fill(0);
  }

  /** What is added is clean: the disk did not have it when the bitmap began. */
  resize(size: number): void {
    const bytes = new Uint8Array(Math.ceil(Math.ceil(size / this.granularity) / 8));
    bytes.set(this.#bytes.subarray(0, bytes.length));
    this.#bytes = bytes;
    this.#size = size;
    this.clearPadding();
  }

  /** Marks what another bitmap of the same disk has marked. */
  merge(other: DirtyBits): void {
    const bytes = other.#bytes;
    for (let byte = 0; byte < bytes.length; byte++) {
      if (bytes[byte] === 0) continue;
      for (let bit = 0; bit < 8; bit++) {
        if ((bytes[byte] & (1 << bit)) === 0) continue;
        const start = (8 * byte + bit) * other.granularity;
        this.mark(start, Math.min(other.granularity, this.#size - start));
      }
    }
  }

  /** Bits beyond the end of the disk mean nothing. */
  clearPadding(): void {
    const used = this.#count % 8;
    if (used !== 0) this.#bytes[this.#bytes.length - 1] &= (1 << used) - 1;
  }

  #set(first: number, last: number): void {
    const bytes = this.#bytes;
    const from = first >> 3;
    const to = last >> 3;
    const head = (0xff << (first & 7)) & 0xff;
    const tail = 0xff >> (7 - (last & 7));
    if (from === to) {
      bytes[from] |= head & tail;
      return;
    }
    bytes[from] |= head;
    bytes.fill(0xff, from + 1, to);
    bytes[to] |= tail;
  }
}
