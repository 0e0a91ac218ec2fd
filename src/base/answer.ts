/**
 * A call from a thread that may block to a thread whose event loop must not block,
 * one call at a time: the caller waits for the answer of the other thread.
 *
 * The question is sent by other means (a message). Plain writes made before `give`
 * are visible after `wait`, so larger parts of the answer may be in shared memory.
 */

const NONE = 0;
const GIVEN = 1;
/** The other side has ended; the value is the answer to every question. */
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

  /** The other side; a second answer to one question is ignored. @param value 32 bits, signed */
  give(value: number): void {
    if (Atomics.load(this.#words, STATE) === NONE) this.#answer(value, GIVEN);
  }

  /** The other side, at its end: this is the answer to every question from now on. */
  end(value: number): void {
    this.#answer(value, ENDED);
  }

  #answer(value: number, state: number): void {
    this.#words[VALUE] = value;
    Atomics.store(this.#words, STATE, state);
    Atomics.notify(this.#words, STATE);
  }
}
