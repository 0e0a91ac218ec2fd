/** Limits the rate of a copy, so that other users of the disk are not blocked. */
import { Epoll } from "../sys/event.ts";

/** The longest sleep at a time, ms. */
const NAP = 1000;

export class Pace {
  readonly #rate: number;
  readonly #nothing = new Epoll();
  readonly #tags = new Uint32Array(1);
  readonly #since = performance.now();
  #moved = 0;

  /** @param rate bytes per second, above 0 */
  constructor(rate: number) {
    this.#rate = rate;
  }

  /** Counts `bytes`, and sleeps as long as the rate is exceeded. */
  moved(bytes: number): void {
    this.#moved += bytes;
    const until = this.#since + (this.#moved / this.#rate) * 1000;
    for (let rest = until - performance.now(); rest > 0; rest = until - performance.now()) {
      this.#nothing.wait(this.#tags, Math.ceil(Math.min(rest, NAP)));
    }
  }

  [Symbol.dispose](): void {
    this.#nothing.close();
  }
}
