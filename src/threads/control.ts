/**
 * How the owner of a machine asks one thread to run, to park or to end: two
 * shared words.
 *
 * The owner of the machine writes REQUEST and then makes the thread read it: by a
 * kick for a vCPU thread, by the wake-up event for the io thread. The thread
 * answers in STATE. Both write their own word before they read the other's, so
 * an owner that finds PARK in both knows that the thread sleeps.
 *
 * A thread changes its own request only to park itself, when its guest has ended
 * the machine.
 */

const REQUEST = 0;
const STATE = 1;
const SETTLED = 2;

/** Words of one control block, all zero at first. */
export const CONTROL_WORDS = 3;

export const PARK = 0; // the initial value
export const RUN = 1;
export const END = 2;
export const TRACE = 3; // RUN, of a vCPU that records its exits

/** How often a thread that waits for another checks whether the machine is ending. */
const SETTLE_CHECK_MS = 50;

export class Control {
  readonly #words: Int32Array;

  /** @param words CONTROL_WORDS shared words. */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** RUN, TRACE, PARK or END. */
  get requested(): number {
    return Atomics.load(this.#words, REQUEST);
  }

  /** True once the thread is asked to end, which is final. */
  get ending(): boolean {
    return this.requested === END;
  }

  /** True if the thread is asked to run without recording its exits. */
  get running(): boolean {
    return this.requested === RUN;
  }

  /** True while the thread is asked to run and to record its exits. */
  get tracing(): boolean {
    return this.requested === TRACE;
  }

  /** True while the thread sleeps, or will sleep before it runs. It stays true only after `request(PARK)`. */
  get parked(): boolean {
    return Atomics.load(this.#words, STATE) === PARK;
  }

  /** END is final. Wakes a parked vCPU thread; any other has to be kicked as well. */
  request(what: number): void {
    let before = this.requested;
    for (;;) {
      if (before === END) return;
      // Exchanged, not stored: a thread that parks itself must not undo an END that came meanwhile.
      const found = Atomics.compareExchange(this.#words, REQUEST, before, what);
      if (found === before) break;
      before = found;
    }
    Atomics.notify(this.#words, REQUEST);
  }

  /**
   * Makes a running thread continue as RUN or as TRACE; the caller has to kick it.
   * False if it was not asked to run, or runs that way already.
   */
  change(to: typeof RUN | typeof TRACE): boolean {
    const from = to === TRACE ? RUN : TRACE;
    return Atomics.compareExchange(this.#words, REQUEST, from, to) === from;
  }

  /** Thread's side: starts to run, if it is asked to. */
  start(): boolean {
    if (!this.mayRun) return false;
    Atomics.store(this.#words, STATE, RUN);
    if (this.mayRun) return true;
    Atomics.store(this.#words, STATE, PARK);
    return false;
  }

  /** A vCPU thread's side: sleeps while it is asked to park. True to run, false to end. */
  sleepWhileParked(): boolean {
    while (!this.start()) {
      const { requested } = this;
      if (requested === END) return false;
      if (requested === PARK) Atomics.wait(this.#words, REQUEST, PARK);
    }
    return true;
  }

  /** Thread's side: stopped at a safe point. Also called for a thread that has ended. */
  park(): void {
    Atomics.store(this.#words, STATE, PARK);
  }

  /** Thread's side: asked to run, with or without recording. */
  get mayRun(): boolean {
    const { requested } = this;
    return requested === RUN || requested === TRACE;
  }

  /** The io thread's side: it has stopped using queues that a driver disabled. */
  announceSettled(): void {
    Atomics.add(this.#words, SETTLED, 1);
    Atomics.notify(this.#words, SETTLED);
  }

  /** A vCPU thread's side: sleeps until `done` returns true or the io thread ends. */
  waitSettled(done: () => boolean): void {
    for (;;) {
      const settled = Atomics.load(this.#words, SETTLED);
      if (done() || this.requested === END) return;
      Atomics.wait(this.#words, SETTLED, settled, SETTLE_CHECK_MS);
    }
  }
}
