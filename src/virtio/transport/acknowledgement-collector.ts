/**
 * Collects acknowledgements of interrupts that are not exits: KVM turns the
 * driver's store into an event, and the io thread reads that event when it has
 * had nothing else to do for a moment, or has been busy for long.
 *
 * The event does not wake the io thread: it would do so a second time for each
 * interrupt, for a bit that may never be read. The bit is cleared all the same, so
 * that a driver which reads InterruptStatus until it is 0 comes to an end.
 *
 * Why no interrupt is lost by that: VirtioMmio.collectAcknowledgement.
 */
import type { Lock } from "../../base/lock.ts";
import { NEVER } from "../../bus/io-task.ts";
import type { LateAcknowledgement } from "./transport.ts";

/** Idle time before the first read of the event, and the longest one while the driver does not acknowledge. */
const FIRST_MS = 10;
const LONGEST_MS = 640;
/** Sleeps of a busy io thread between two reads. */
const BUSY_SLEEPS = 64;

export class AcknowledgementCollector {
  readonly #transport: LateAcknowledgement;
  readonly #lock: Lock;
  #waitMs = FIRST_MS;
  #sleeps = 0;
  /** The last sleep lasted as long as it might. */
  #wasIdle = false;

  constructor(transport: LateAcknowledgement, lock: Lock) {
    this.#transport = transport;
    this.#lock = lock;
  }

  /** To be called before each sleep of the io thread. How long it may be idle; NEVER if all is acknowledged. */
  beforeSleep(): number {
    if (this.#wasIdle) {
      this.#wasIdle = false;
    } else {
      this.#waitMs = FIRST_MS;
      if (++this.#sleeps >= BUSY_SLEEPS) this.collect();
    }
    return this.#transport.unacknowledged ? this.#waitMs : NEVER;
  }

  /** To be called after a sleep in which nothing happened. */
  collectWhenIdle(): void {
    this.#wasIdle = true;
    this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_MS);
    this.collect();
  }

  /** To be called also before the machine is saved: the event is not part of its registers. */
  collect(): void {
    this.#sleeps = 0;
    if (!this.#transport.unacknowledged) return;
    this.#lock.acquire();
    try {
      this.#transport.collectAcknowledgement();
    } finally {
      this.#lock.release();
    }
  }
}
