/**
 * Acknowledgements of virtio interrupts that cost no exit: KVM turns the
 * driver's write into an event, and the io thread looks at it when it has
 * nothing else to do for a moment, or has been busy for long.
 *
 * Not in the epoll set: there each interrupt would wake the io thread a second
 * time, for a bit that nobody may ever look at. The bit is cleared all the same,
 * so that a driver which reads InterruptStatus until it is 0 comes to an end.
 *
 * Why no interrupt is lost by that: LateAcknowledgement.collectAcknowledgement.
 */
import type { Lock } from "../base/lock.ts";
import type { LateAcknowledgement } from "../virtio/transport/transport.ts";

/** The first look after an interrupt, and the longest wait between two while the driver does not acknowledge. */
const SOON_MS = 10;
const SELDOM_MS = 640;
/** Wakes of the io thread after which it looks although it is busy. */
const BUSY_WAKES = 64;

export class Acknowledgements {
  readonly #devices: readonly { readonly transport: LateAcknowledgement; readonly lock: Lock }[];
  #waitMs = SOON_MS;
  #wakes = 0;

  /** @param devices those whose acknowledgements are no exits */
  constructor(devices: readonly { readonly transport: LateAcknowledgement; readonly lock: Lock }[]) {
    this.#devices = devices;
  }

  /** How long the io thread may sleep if it could sleep for `most` ms; -1 is for ever, and so if all is acknowledged. */
  sleepMs(most: number): number {
    for (const { transport } of this.#devices) {
      if (transport.unacknowledged) return most < 0 ? this.#waitMs : Math.min(most, this.#waitMs);
    }
    return most;
  }

  /** To be called after each sleep. @param idle it lasted as long as it might, and was one */
  afterSleep(idle: boolean): void {
    if (idle) {
      this.#waitMs = Math.min(2 * this.#waitMs, SELDOM_MS);
    } else {
      this.#waitMs = SOON_MS;
      if (++this.#wakes < BUSY_WAKES) return;
    }
    this.#wakes = 0;
    this.#collect();
  }

  #collect(): void {
    for (const { transport, lock } of this.#devices) {
      if (!transport.unacknowledged) continue;
      lock.acquire();
      try {
        transport.collectAcknowledgement();
      } finally {
        lock.release();
      }
    }
  }
}
