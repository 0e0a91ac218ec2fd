/**
 * Ranges of sequence numbers that a receiver has behind a gap (RFC 2018): what need not be sent again.
 * Sorted, apart from each other, of a fixed number; numbers are signed differences modulo 2^32.
 */

const MAX_RANGES = 32;

export class Ranges {
  readonly #pairs = new Int32Array(2 * MAX_RANGES);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  start(n: number): number {
    return this.#pairs[2 * n];
  }

  end(n: number): number {
    return this.#pairs[2 * n + 1];
  }

  clear(): void {
    this.#count = 0;
  }

  /** Adds a range; what touches it is joined. A range for which there is no place is forgotten. */
  add(start: number, end: number): void {
    const pairs = this.#pairs;
    let from = start;
    let to = end;
    let first = 0;
    while (first < this.#count && ((pairs[2 * first + 1] - from) | 0) < 0) first++;
    let behind = first;
    for (; behind < this.#count && ((pairs[2 * behind] - to) | 0) <= 0; behind++) {
      if (((pairs[2 * behind] - from) | 0) < 0) from = pairs[2 * behind];
      if (((pairs[2 * behind + 1] - to) | 0) > 0) to = pairs[2 * behind + 1];
    }
    if (behind === first) {
      if (this.#count === MAX_RANGES) return;
      pairs.copyWithin(2 * first + 2, 2 * first, 2 * this.#count);
      this.#count++;
    } else if (behind > first + 1) {
      pairs.copyWithin(2 * first + 2, 2 * behind, 2 * this.#count);
      this.#count -= behind - first - 1;
    }
    pairs[2 * first] = from;
    pairs[2 * first + 1] = to;
  }

  /** Forgets what lies before `sequence`. */
  dropBefore(sequence: number): void {
    const pairs = this.#pairs;
    let gone = 0;
    while (gone < this.#count && ((pairs[2 * gone + 1] - sequence) | 0) <= 0) gone++;
    if (gone > 0) {
      pairs.copyWithin(0, 2 * gone, 2 * this.#count);
      this.#count -= gone;
    }
    if (this.#count > 0 && ((pairs[0] - sequence) | 0) < 0) pairs[0] = sequence;
  }

  /** Bytes in all ranges. */
  get bytes(): number {
    let sum = 0;
    for (let n = 0; n < this.#count; n++) sum += (this.#pairs[2 * n + 1] - this.#pairs[2 * n]) | 0;
    return sum;
  }
}
