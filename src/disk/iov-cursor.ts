/**
 * Walks through an iov and returns its bytes in portions: a request of a guest is
 * split where the image's clusters are not consecutive.
 */
export class IovCursor {
  /** The pairs of the last portion: reused, and longer than `count` pairs. */
  parts: Float64Array = new Float64Array(64);
  /** Pairs in the last portion. */
  count = 0;
  #iov: Float64Array = this.parts;
  #next = 0;
  /** Bytes of pair `#next` that were returned already. */
  #used = 0;

  /** Starts over. Returns how many bytes there are. */
  begin(iov: Float64Array, first: number, count: number): number {
    this.#iov = iov;
    this.#next = first;
    this.#used = 0;
    if (this.parts.length < 2 * count) this.parts = new Float64Array(2 * count);
    let bytes = 0;
    for (let i = first; i < first + count; i++) bytes += iov[2 * i + 1];
    return bytes;
  }

  /** Puts the next `length` bytes, as far as they exist, into `parts`. */
  take(length: number): void {
    const { parts } = this;
    const iov = this.#iov;
    let count = 0;
    for (let left = length; left > 0; ) {
      const available = iov[2 * this.#next + 1] - this.#used;
      const part = Math.min(available, left);
      if (part > 0) {
        parts[2 * count] = iov[2 * this.#next] + this.#used;
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
    this.count = count;
  }
}
