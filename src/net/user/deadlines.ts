/** One alarm for all that a network waits for. While its machine is paused, no time passes. */
import type { Alarm, Clock } from "./clock.ts";

const LEAST_SLEEP_MS = 5;
const LATE_MS = 20;

export class Deadlines {
  readonly #clock: Clock;
  readonly #expire: (now: number) => number;
  readonly #alarm: Alarm;
  #alarmAt = Number.POSITIVE_INFINITY;
  #pausedAt = -1;
  #isClosed = false;

  /** @param expire ends what has waited until now, and returns the next deadline */
  constructor(clock: Clock, expire: (now: number) => number) {
    this.#clock = clock;
    this.#expire = expire;
    this.#alarm = clock.alarm(() => this.#ring());
  }

  wakeAt(deadline: number): void {
    if (deadline >= this.#alarmAt || this.#pausedAt >= 0 || this.#isClosed) return;
    this.#alarmAt = deadline;
    this.#alarm.set(Math.max(LEAST_SLEEP_MS, deadline - this.#clock.now()));
  }

  pause(): void {
    if (this.#pausedAt < 0) this.#pausedAt = this.#clock.now();
    this.#alarm.cancel();
    this.#alarmAt = Number.POSITIVE_INFINITY;
  }

  /** @param postpone moves deadlines by so many ms */
  resume(postpone: (ms: number) => void): void {
    if (this.#pausedAt < 0) return;
    const pausedMs = this.#clock.now() - this.#pausedAt;
    this.#pausedAt = -1;
    postpone(pausedMs);
    this.#ring();
  }

  close(): void {
    this.#isClosed = true;
    this.#alarm.cancel();
  }

  #ring(): void {
    const now = this.#clock.now();
    const isLate = now - this.#alarmAt > LATE_MS;
    this.#alarmAt = Number.POSITIVE_INFINITY;
    if (this.#pausedAt >= 0 || this.#isClosed) return;
    // A thread that did not run: what it waits for may be there already, and has its turn first.
    this.wakeAt(isLate ? now + LEAST_SLEEP_MS : this.#expire(now));
  }
}
