/**
 * The answer that one thread waits for and another gives: a call at a time,
 * from a thread that may block to one whose event loop must go on.
 *
 * The question travels by other means (a message). Plain writes made before
 * `give` are visible after `wait`, so what belongs to the answer may lie in
 * shared memory beside it.
 */

const NONE = 0;
const GIVEN = 1;
/** Nobody is there any more; the value is the answer to all that is asked. */
const ENDED = 2;

// Words.
const STATE = 0;
const VALUE = 1;

export class Answer {
  static readonly WORDS = 2;
  readonly #words: Int32Array;

  /** @param words zero at first, over a SharedArrayBuffer; `Answer.WORDS` of them */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** The caller, before it asks. */
  expect(): void {
    Atomics.compareExchange(this.#words, STATE, GIVEN, NONE);
  }

  /** The caller: sleeps until there is an answer. */
  wait(): number {
    Atomics.wait(this.#words, STATE, NONE);
    return this.#words[VALUE];
  }

  /** The other side; a second answer to one question is not heard. @param value 32 bits, signed */
  give(value: number): void {
    if (Atomics.load(this.#words, STATE) === NONE) this.#answer(value, GIVEN);
  }

  /** The other side, at its end: this is the answer from now on. */
  end(value: number): void {
    this.#answer(value, ENDED);
  }

  #answer(value: number, state: number): void {
    this.#words[VALUE] = value;
    Atomics.store(this.#words, STATE, state);
    Atomics.notify(this.#words, STATE);
  }
}
