/**
 * Durations in bins that grow by a constant factor, for a picture that shows both
 * microseconds and seconds.
 */

/** From 10 ns to 100 s; shorter and longer durations count in the first and last bin. */
const LOWEST_DECADE = 1;
const DECADES = 10;
const PER_DECADE = 10;
const BINS = DECADES * PER_DECADE;

export class DurationHistogram {
  readonly counts = new Float64Array(BINS);
  /** The sum of the durations. */
  readonly sums = new Float64Array(BINS);

  add(ns: number): void {
    const place = Math.floor((Math.log10(Math.max(ns, 1)) - LOWEST_DECADE) * PER_DECADE);
    const bin = Math.min(Math.max(place, 0), BINS - 1);
    this.counts[bin]++;
    this.sums[bin] += ns;
  }
}

/** The starts of the bins, in ns, and the end of the last one. */
export function durationEdges(): number[] {
  return Array.from({ length: BINS + 1 }, (_, i) => 10 ** (LOWEST_DECADE + i / PER_DECADE));
}
