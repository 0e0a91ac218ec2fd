/**
 * Which pages of RAM the monitor itself wrote: what devices and programs put into
 * guest memory is not in KVM's dirty log. A bit a page, by RAM offset, in shared
 * memory; any thread marks, one takes. While nobody wants to know, marking costs
 * a load.
 */
import { PAGE } from "../base/units.ts";
import type { DirtySink } from "./dirty-sink.ts";

const ON = 0;
const HEADER_WORDS = 16;
const PAGES_PER_WORD = 32;

export class DirtyMap implements DirtySink {
  readonly #words: Int32Array;

  /** For RAM of `size` bytes. Pages of the buffer that nobody touches cost no memory. */
  static bytes(size: number): number {
    return 4 * (HEADER_WORDS + Math.ceil(size / PAGE / PAGES_PER_WORD));
  }

  /** @param buffer all zero at first; `DirtyMap.bytes(size)` long */
  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  get on(): boolean {
    return Atomics.load(this.#words, ON) !== 0;
  }

  /** Begins or ends marking. What was marked and not taken is forgotten. */
  set on(on: boolean) {
    this.#words.fill(0, HEADER_WORDS);
    Atomics.store(this.#words, ON, on ? 1 : 0);
  }

  /** Marks a range of RAM: offset and length in bytes. */
  mark(offset: number, length: number): void {
    if (length === 0 || Atomics.load(this.#words, ON) === 0) return;
    const last = Math.floor((offset + length - 1) / PAGE);
    for (let page = Math.floor(offset / PAGE); page <= last; page++) {
      const word = HEADER_WORDS + Math.floor(page / PAGES_PER_WORD);
      Atomics.or(this.#words, word, 1 << (page % PAGES_PER_WORD));
    }
  }

  /** Adds what was marked since the last call to `into`, a bit a page from RAM offset 0 on. */
  take(into: Uint32Array): void {
    for (let n = 0; n < into.length; n++) {
      if (this.#words[HEADER_WORDS + n] !== 0) into[n] |= Atomics.exchange(this.#words, HEADER_WORDS + n, 0);
    }
  }
}
