/**
 * Limits on a disk's requests and bytes per second, by leaky buckets: each
 * request fills them, they leak at the permitted rate, and the next request
 * waits until none is above its limit. After a pause, a disk may so exceed the rate by
 * a tenth of a second's worth.
 *
 * Source: QEMU docs/throttle.txt, with the same limits and burst.
 */

/** Requests (iops) or bytes (bps) per second. 0 or undefined: no limit. */
export interface ThrottleLimits {
  readonly iopsTotal?: number;
  readonly iopsRead?: number;
  readonly iopsWrite?: number;
  readonly bpsTotal?: number;
  readonly bpsRead?: number;
  readonly bpsWrite?: number;
}

/** The capacity of a bucket, in seconds at the permitted rate. */
const BURST = 0.1;

export class Throttle {
  readonly #reads: Bucket[];
  readonly #writes: Bucket[];
  readonly #buckets: Bucket[];

  constructor(limits: ThrottleLimits) {
    const bucket = (rate: number | undefined, countsBytes: boolean) =>
      rate === undefined || rate === 0 ? [] : [new Bucket(rate, countsBytes)];
    const both = [...bucket(limits.iopsTotal, false), ...bucket(limits.bpsTotal, true)];
    this.#reads = [...both, ...bucket(limits.iopsRead, false), ...bucket(limits.bpsRead, true)];
    this.#writes = [...both, ...bucket(limits.iopsWrite, false), ...bucket(limits.bpsWrite, true)];
    this.#buckets = [...new Set([...this.#reads, ...this.#writes])];
  }

  /** How long a request has to wait, in ms from `now`; 0 if it need not wait. */
  delay(isWrite: boolean, now: number): number {
    for (const bucket of this.#buckets) bucket.leak(now);
    let longest = 0;
    for (const bucket of isWrite ? this.#writes : this.#reads) longest = Math.max(longest, bucket.delay);
    return longest;
  }

  /** Counts a request that is submitted now. */
  count(isWrite: boolean, bytes: number): void {
    for (const bucket of isWrite ? this.#writes : this.#reads) bucket.level += bucket.countsBytes ? bytes : 1;
  }
}

class Bucket {
  level = 0;
  readonly countsBytes: boolean;
  readonly #rate: number;
  #leakedAt = 0;

  /** @param rate per second */
  constructor(rate: number, countsBytes: boolean) {
    this.#rate = rate;
    this.countsBytes = countsBytes;
  }

  leak(now: number): void {
    this.level = Math.max(0, this.level - ((now - this.#leakedAt) / 1000) * this.#rate);
    this.#leakedAt = now;
  }

  /** ms until it is no longer above its limit. */
  get delay(): number {
    const over = this.level - this.#rate * BURST;
    return over <= 0 ? 0 : (over / this.#rate) * 1000;
  }
}
