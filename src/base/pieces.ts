/**
 * Pieces of a memory, in order: where the data of a request is. Each is an offset and a
 * length in bytes, as native I/O takes them.
 *
 * An object is reused for many requests, so that none of them allocates one.
 */
export class Pieces {
  /** Offset and length of piece n are at 2n and 2n + 1; doubles, exact up to 2^53. */
  pairs: Float64Array;
  /** The index of the first piece in `pairs`, and the number of pieces. */
  first = 0;
  count: number;

  constructor(pairs: Float64Array, count = pairs.length / 2) {
    this.pairs = pairs;
    this.count = count;
  }

  /** Offset and length of each piece. Allocates. */
  static of(...pairs: number[]): Pieces {
    return new Pieces(Float64Array.of(...pairs));
  }

  /** The one piece that is a whole buffer. Allocates. */
  static whole(length: number): Pieces {
    return new Pieces(Float64Array.of(0, length), 1);
  }

  /** The length of all pieces together. */
  get bytes(): number {
    const { pairs, first, count } = this;
    let bytes = 0;
    for (let i = first; i < first + count; i++) bytes += pairs[2 * i + 1];
    return bytes;
  }

  /** The pairs in use, copied. */
  copyPairs(): Float64Array {
    return this.pairs.slice(2 * this.first, 2 * (this.first + this.count));
  }
}
