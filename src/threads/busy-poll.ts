/**
 * When the io thread looks for the next request for a moment before it sleeps:
 * a driver that waits for each answer asks again soon, and to be woken for that
 * costs more than to serve it. While the io thread looks, the driver does not
 * ring, which spares the guest an exit.
 *
 * Each time that nothing comes, the next looks are fewer, so that a guest which
 * asks seldom costs little. One that keeps many requests under way is not held up
 * by a wake-up: for that one nothing is gained.
 */

/**
 * Looks before a sleep, of some 15 ns: no longer than KVM itself looks for an interrupt
 * before it lets the thread of a halted CPU sleep (halt_poll_ns, 200 µs). They are counted
 * and not timed, because where they take longer a wake-up does too.
 */
export const LOOKS = 8000;
/** As many requests at once are no longer few. */
const MANY = 5;
const MAX_PAUSE = 63;

export class BusyPoll {
  /** Sleeps before which nobody looks, after one in vain, */
  #pause = 0;
  /** and how many of them are to come. */
  #pausing: number;

  /** @param first sleeps after requests before which nobody looks yet: a driver has to show that it goes on asking */
  constructor(first = 0) {
    this.#pausing = first;
  }

  /** Whether there may be a look before the next sleep, and drivers need not ring until then. */
  get ready(): boolean {
    return this.#pausing === 0;
  }

  /** Whether to look before this sleep. @param served requests since the last one */
  worthwhile(served: number): boolean {
    if (served === 0 || served >= MANY) return false;
    if (this.#pausing === 0) return true;
    this.#pausing--;
    return false;
  }

  looked(found: boolean): void {
    this.#pause = found ? 0 : Math.min(MAX_PAUSE, 2 * this.#pause + 1);
    this.#pausing = this.#pause;
  }
}
