/**
 * The visible part of a timeline's bins, in no more buckets than a picture has room
 * for. Knows no browser.
 */

export interface TimeBuckets {
  /** The first bin, and how many bins a bucket and all of them have. */
  readonly first: number;
  readonly group: number;
  readonly count: number;
  /** Nanoseconds of a bucket. */
  readonly width: number;
}

/**
 * Buckets that cover the time from `from` to `to`. They begin at multiples of their
 * width, so the picture does not flicker when it is moved.
 */
export function timeBuckets(
  binWidth: number,
  bins: number,
  from: number,
  to: number,
  most: number,
): TimeBuckets {
  const clamp = (bin: number) => Math.min(Math.max(bin, 0), bins - 1);
  const firstBin = clamp(Math.floor(from / binWidth));
  const lastBin = clamp(Math.ceil(to / binWidth) - 1);
  const group = Math.max(1, Math.ceil((lastBin - firstBin + 1) / most));
  const first = Math.floor(firstBin / group) * group;
  const count = Math.floor((lastBin - first) / group) + 1;
  return { first, group, count, width: binWidth * group };
}

/** The sum of `values`, one for each bin, in each bucket. */
export function bucketSums(values: readonly number[], { first, group, count }: TimeBuckets): number[] {
  return Array.from({ length: count }, (_, bucket) => {
    let sum = 0;
    const start = first + bucket * group;
    for (let bin = start; bin < start + group && bin < values.length; bin++) sum += values[bin];
    return sum;
  });
}

/** The time at which bucket `n` begins. */
export function bucketStart(buckets: TimeBuckets, n: number): number {
  return (buckets.first / buckets.group + n) * buckets.width;
}
