/**
 * Equal bins over a time whose end is not known yet: when time passes the last bin,
 * neighbours are merged and each bin becomes twice as wide. So one pass over a trace
 * of any length takes a fixed amount of memory.
 */

/** The largest number of bins. At least half of them are used if the trace is longer than they were at first. */
export const MAX_BINS = 2048;
const FIRST_WIDTH = 1000; // ns

/** The width that all series of a report share. */
export class BinScale {
  width = FIRST_WIDTH;
  readonly #series: Float64Array[] = [];

  /** A new series, all zero, which follows this scale. */
  series(): Float64Array {
    const bins = new Float64Array(MAX_BINS);
    this.#series.push(bins);
    return bins;
  }

  /** The bin of time `t`, after making room for it. */
  binOf(t: number): number {
    while (t >= this.width * MAX_BINS) this.#double();
    return Math.floor(t / this.width);
  }

  /** Divides the time from `from` to `to` among its bins. */
  addSpan(bins: Float64Array, from: number, to: number): void {
    if (to <= from) return;
    const last = this.binOf(to);
    for (let bin = this.binOf(from); bin <= last; bin++) {
      const start = Math.max(from, bin * this.width);
      const end = Math.min(to, (bin + 1) * this.width);
      bins[bin] += end - start;
    }
  }

  #double(): void {
    this.width *= 2;
    for (const bins of this.#series) {
      for (let i = 0; i < MAX_BINS / 2; i++) bins[i] = bins[2 * i] + bins[2 * i + 1];
      bins.fill(0, MAX_BINS / 2);
    }
  }
}
