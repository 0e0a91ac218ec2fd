/** The retransmission timeout (RFC 6298) and the congestion window (RFC 5681, 6582) of one direction. */

const INITIAL_RTO_MS = 1000;
/** Linux uses 200 ms too; RFC 6298 asks for a second, which a virtual link does not need. */
const MIN_RTO_MS = 200;
const MAX_RTO_MS = 60_000;
/** RFC 6928. */
const INITIAL_SEGMENTS = 10;

export class RetransmissionTimer {
  rtoMs = INITIAL_RTO_MS;
  /** How often the timer has expired without progress. */
  expiries = 0;
  #smoothed = -1;
  #variation = 0;

  sample(roundTripMs: number): void {
    if (this.#smoothed < 0) {
      this.#smoothed = roundTripMs;
      this.#variation = roundTripMs / 2;
    } else {
      this.#variation += (Math.abs(this.#smoothed - roundTripMs) - this.#variation) / 4;
      this.#smoothed += (roundTripMs - this.#smoothed) / 8;
    }
    this.rtoMs = this.#computed();
  }

  /** The other side acknowledged something new. */
  progressed(): void {
    if (this.expiries === 0) return;
    this.expiries = 0;
    this.rtoMs = this.#computed();
  }

  backOff(): void {
    this.expiries++;
    this.rtoMs = Math.min(2 * this.rtoMs, MAX_RTO_MS);
  }

  #computed(): number {
    if (this.#smoothed < 0) return INITIAL_RTO_MS;
    return Math.min(Math.max(this.#smoothed + Math.max(1, 4 * this.#variation), MIN_RTO_MS), MAX_RTO_MS);
  }
}

export class CongestionWindow {
  bytes: number;
  #threshold = Number.POSITIVE_INFINITY;
  /** What the last timeout made small. */
  #before = { bytes: 0, threshold: Number.POSITIVE_INFINITY };
  #mss: number;

  constructor(mss: number) {
    this.#mss = mss;
    this.bytes = INITIAL_SEGMENTS * mss;
  }

  /** `acknowledged` new bytes: slow start, or one segment each window. */
  grow(acknowledged: number, limit: number): void {
    // A window that nobody fills need not grow.
    if (this.bytes >= limit) return;
    if (this.bytes < this.#threshold) this.bytes += acknowledged;
    else this.bytes += Math.max(1, Math.floor((this.#mss * acknowledged) / this.bytes));
  }

  /** A segment was lost: half of what was in flight. */
  lost(inFlight: number): void {
    this.#threshold = Math.max(inFlight / 2, 2 * this.#mss);
    this.bytes = this.#threshold + 3 * this.#mss;
  }

  /** One more segment has left the network during recovery. */
  inflate(): void {
    this.bytes += this.#mss;
  }

  /** Part of the loss is repaired (RFC 6582, 3.2 step 3). */
  partlyRecovered(acknowledged: number): void {
    this.bytes = Math.max(this.bytes - acknowledged, 0) + this.#mss;
  }

  recovered(): void {
    this.bytes = this.#threshold;
  }

  timedOut(inFlight: number): void {
    this.#before = { bytes: this.bytes, threshold: this.#threshold };
    this.#threshold = Math.max(inFlight / 2, 2 * this.#mss);
    this.bytes = this.#mss;
  }

  /** The timeout was a mistake: nothing was lost, an acknowledgement was late. */
  undoTimeout(): void {
    this.bytes = Math.max(this.bytes, this.#before.bytes);
    this.#threshold = this.#before.threshold;
  }
}
