/**
 * Counts times for percentiles. The memory does not depend on their number, and each
 * percentile is accurate to within 1.6 %.
 *
 * Buckets are as wide as the 64th part of the power of two below them (after
 * Gil Tene's HdrHistogram).
 */

const SUB_BITS = 6;
const SUBS = 1 << SUB_BITS;
/** Up to 2^53. */
const BUCKETS = SUBS * (53 - SUB_BITS + 1);

export class Histogram {
  #count = 0;
  #sum = 0;
  readonly #buckets = new Float64Array(BUCKETS);

  /** @param value 0 or more */
  add(value: number): void {
    this.#count++;
    this.#sum += value;
    this.#buckets[bucketOf(value)]++;
  }

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  /** The value that `percent` of all values do not exceed; 0 if there are none. */
  percentile(percent: number): number {
    let left = Math.max(1, Math.ceil((this.#count * percent) / 100));
    if (this.#count === 0) return 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      left -= this.#buckets[bucket];
      if (left <= 0) return middleOf(bucket);
    }
    return 0;
  }
}

function bucketOf(value: number): number {
  const whole = Math.min(Math.floor(value), 2 ** 53 - 1);
  if (whole < SUBS) return whole;
  const exponent = Math.floor(Math.log2(whole));
  // log2 rounds up for the last numbers before a power of two.
  const power = 2 ** exponent > whole ? exponent - 1 : exponent;
  const sub = Math.floor(whole / 2 ** (power - SUB_BITS)) - SUBS;
  return SUBS * (power - SUB_BITS + 1) + sub;
}

function middleOf(bucket: number): number {
  if (bucket < SUBS) return bucket;
  const width = 2 ** (Math.floor(bucket / SUBS) - 1);
  const low = (SUBS + (bucket % SUBS)) * width;
  return Math.floor(low + (width - 1) / 2);
}
