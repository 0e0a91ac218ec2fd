/**
 * A counter in shared memory that says "derive it again": threads keep what they
 * computed from shared registers as long as the generation is the one they saw.
 *
 * Whoever changes the registers bumps it afterwards. A thread that reads the new
 * generation therefore reads the new registers too.
 */
export class Generation {
  readonly #words: Int32Array;
  readonly #index: number;

  /** @param words an Int32Array over a SharedArrayBuffer; @param index the counter's word in it */
  constructor(words: Int32Array, index = 0) {
    this.#words = words;
    this.#index = index;
  }

  /** Modulo 2^32. */
  get current(): number {
    return Atomics.load(this.#words, this.#index);
  }

  bump(): void {
    Atomics.add(this.#words, this.#index, 1);
  }
}
