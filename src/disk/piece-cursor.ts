/**
 * Walks through the pieces of a request and returns their bytes in portions: a request
 * of a guest is split where the image's clusters are not consecutive.
 */
import { Pieces } from "../base/pieces.ts";

export class PieceCursor {
  /** The last portion. Reused by the next one. */
  readonly portion = new Pieces(new Float64Array(64), 0);
  #pairs: Float64Array = this.portion.pairs;
  #next = 0;
  /** Bytes of piece `#next` that were returned already. */
  #used = 0;

  /** Starts over. Returns how many bytes there are. */
  begin(pieces: Pieces): number {
    const { pairs, first, count } = pieces;
    const { portion } = this;
    this.#pairs = pairs;
    this.#next = first;
    this.#used = 0;
    if (portion.pairs.length < 2 * count) portion.pairs = new Float64Array(2 * count);
    return pieces.bytes;
  }

  /** Puts the next `length` bytes, as far as they exist, into `portion`. */
  take(length: number): void {
    const { pairs: parts } = this.portion;
    const pairs = this.#pairs;
    let count = 0;
    for (let left = length; left > 0; ) {
      const available = pairs[2 * this.#next + 1] - this.#used;
      const part = Math.min(available, left);
      if (part > 0) {
        parts[2 * count] = pairs[2 * this.#next] + this.#used;
        parts[2 * count + 1] = part;
        count++;
        left -= part;
      }
      if (part === available) {
        this.#next++;
        this.#used = 0;
      } else {
        this.#used += part;
      }
    }
    this.portion.count = count;
  }
}
