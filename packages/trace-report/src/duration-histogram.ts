/**
 * Durations in bins that grow by a constant factor, for a picture in which a
 * microsecond and a second both have their place.
 */

/** From 10 ns to 100 s; what is shorter or longer falls in the first or last bin. */
const LOWEST_DECADE = 1;
const DECADES = 10;
const PER_DECADE = 10;
const BINS = DECADES * PER_DECADE;

export class DurationHistogram {
  readonly counts = new Float64Array(BINS);
  /** Of the durations themselves. */
  readonly sums = new Float64Array(BINS);

  add(ns: number): void {
    const place = Math.floor((Math.log10(Math.max(ns, 1)) - LOWEST_DECADE) * PER_DECADE);
    const bin = Math.min(Math.max(place, 0), BINS - 1);
    this.counts[bin]++;
    this.sums[bin] += ns;
  }
}

/** Where bins begin, in ns, and where the last one ends. */
export function durationEdges(): number[] {
  return Array.from({ length: BINS + 1 }, (_, i) => 10 ** (LOWEST_DECADE + i / PER_DECADE));
}
