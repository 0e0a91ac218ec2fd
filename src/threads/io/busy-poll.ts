/**
 * Whether the io thread polls for a while before it sleeps: a driver that waits
 * for each answer sends its next request soon, and a wake-up for it costs more
 * than to serve it. While the io thread polls, the driver need not notify, which
 * spares the guest an exit.
 *
 * Each time that polling finds nothing it gets rarer, so that a guest which sends
 * few requests costs little. A guest with many requests in flight is not delayed
 * by a wake-up, because all of them share it.
 */

/**
 * Polls before a sleep, of some 15 ns: no longer than KVM itself polls for an
 * interrupt before the thread of a halted CPU sleeps (halt_poll_ns, 200 µs). They are
 * counted and not timed, because where they take longer a wake-up does too.
 */
export const SPINS = 8000;
/** So many requests at a time are not few. */
const MANY = 5;
const MAX_PAUSE = 63;
/** Sleeps without polling before the first one with it: a driver has to show first that it keeps sending requests. */
const FIRST_SLEEPS = 16;

export class BusyPoll {
  /** Sleeps without polling after the last one in vain. */
  #pause = 0;
  /** How many of them are left. */
  #left: number;

  constructor(firstSleeps = FIRST_SLEEPS) {
    this.#left = firstSleeps;
  }

  /** Whether there may be polling before the next sleep, so that drivers need not notify until then. */
  get ready(): boolean {
    return this.#left === 0;
  }

  /** Whether to poll before this sleep. @param served requests since the last one */
  worthwhile(served: number): boolean {
    if (served === 0 || served >= MANY) return false;
    if (this.#left === 0) return true;
    this.#left--;
    return false;
  }

  polled(found: boolean): void {
    this.#pause = found ? 0 : Math.min(MAX_PAUSE, 2 * this.#pause + 1);
    this.#left = this.#pause;
  }
}
