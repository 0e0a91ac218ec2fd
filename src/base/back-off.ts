/** Decides when to try something that is often in vain: each failure makes the next tries rarer, a success ends that. */

const MAX_SKIP = 63;

export class BackOff {
  /** Occasions to skip after the last failure. */
  #skip = 0;
  #left: number;

  /** @param skip occasions to skip before the first try */
  constructor(skip = 0) {
    this.#left = skip;
  }

  /** True if the next occasion is one to try. */
  get ready(): boolean {
    return this.#left === 0;
  }

  /** An occasion: true if it is one to try. `tried` follows then. */
  take(): boolean {
    if (this.#left === 0) return true;
    this.#left--;
    return false;
  }

  tried(success: boolean): void {
    this.#skip = success ? 0 : Math.min(MAX_SKIP, 2 * this.#skip + 1);
    this.#left = this.#skip;
  }
}
