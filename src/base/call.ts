/**
 * A call from a thread that may block to one whose event loop must not: the
 * caller sleeps until the other side has replied. One call at a time.
 *
 * The other side learns of the call by a message. Plain writes that the caller
 * makes before `begin` are visible to the other side once it has that message,
 * and its own before `reply` are visible after `wait`: arguments and results may
 * lie in shared memory next to the call.
 */

const IDLE = 0;
const CALLING = 1;
/** There will be no reply any more; the value is the result of every call. */
const ENDED = 2;

// Words.
const STATE = 0;
const VALUE = 1;

export class Call {
  static readonly WORDS = 2;
  readonly #words: Int32Array;

  /** @param words zero at first, over a SharedArrayBuffer; `Call.WORDS` of them */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** The caller, before its message. False if there will be no reply: then no message is needed. */
  begin(): boolean {
    return Atomics.compareExchange(this.#words, STATE, IDLE, CALLING) !== ENDED;
  }

  /** The caller, after its message: sleeps until the reply. Returns 32 bits, signed. */
  wait(): number {
    // The notification of the reply before may come this late: it is not the reply to this call.
    while (Atomics.load(this.#words, STATE) === CALLING) Atomics.wait(this.#words, STATE, CALLING);
    return this.#words[VALUE];
  }

  /** The other side. A second reply to one call is ignored. @param value its low 32 bits count */
  reply(value: number): void {
    if (Atomics.load(this.#words, STATE) === CALLING) this.#finish(value, IDLE);
  }

  /** The other side, at its end: this is the reply from now on. */
  end(value: number): void {
    this.#finish(value, ENDED);
  }

  #finish(value: number, state: number): void {
    this.#words[VALUE] = value;
    Atomics.store(this.#words, STATE, state);
    Atomics.notify(this.#words, STATE);
  }
}
