/** Time, as the user network sees it: tests advance it by hand. */

/** A timer that can be set again and again without allocating. */
export interface Alarm {
  /** Milliseconds from now; an earlier setting is replaced. */
  set(delayMs: number): void;
  cancel(): void;
}

export interface Clock {
  /** Milliseconds; never goes back. */
  now(): number;
  alarm(ring: () => void): Alarm;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  alarm: (ring) => new TimerAlarm(ring),
};

class TimerAlarm implements Alarm {
  readonly #ring: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(ring: () => void) {
    this.#ring = ring;
  }

  set(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#ring, delayMs);
    // A network alone does not keep a program running.
    this.#timer.unref();
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}
