/**
 * Decides whether the io thread polls for a while before it sleeps. A driver that
 * waits for each answer soon sends its next request, and a wake-up for it takes
 * longer than the request itself. While the io thread polls, the driver need not
 * notify, so the guest has one exit less.
 *
 * Polling becomes rarer each time that it finds nothing, so a guest with few
 * requests costs little host CPU time. For a guest with many requests in flight,
 * polling is not needed: they share one wake-up.
 */
import { BackOff } from "../../base/back-off.ts";

/**
 * The number of polls before a sleep, of about 25 ns each. They take no longer than
 * KVM's own polling for an interrupt before the thread of a halted CPU sleeps
 * (halt_poll_ns, 200 µs). They are counted instead of timed, because on a slower
 * host a wake-up takes longer too.
 */
export const SPINS = 4500;
/** From this number of requests at a time on, polling is not needed. */
const MANY = 5;
/** Sleeps without polling before the first with polling: a driver must first have sent several requests. */
const FIRST_SLEEPS = 16;

export class BusyPoll {
  readonly #backOff: BackOff;

  constructor(firstSleeps = FIRST_SLEEPS) {
    this.#backOff = new BackOff(firstSleeps);
  }

  /** Whether polling is possible before the next sleep, so that drivers need not notify until then. */
  get ready(): boolean {
    return this.#backOff.ready;
  }

  /** Whether to poll before this sleep. @param served requests since the last one */
  worthwhile(served: number): boolean {
    return served > 0 && served < MANY && this.#backOff.take();
  }

  polled(found: boolean): void {
    this.#backOff.tried(found);
  }
}
