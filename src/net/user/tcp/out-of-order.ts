/** Data of the guest behind a gap: copies, sorted by sequence, at most as much as the window allowed. */

const MAX_PIECES = 256;

interface Piece {
  readonly start: number;
  readonly bytes: Uint8Array;
}

export class OutOfOrder {
  #pieces: Piece[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps data; what is there already is not kept twice. */
  add(start: number, data: Uint8Array): void {
    const pieces = this.#pieces;
    if (pieces.length === MAX_PIECES) return;
    let n = pieces.length;
    while (n > 0 && ((pieces[n - 1].start - start) | 0) > 0) n--;
    // Trims what the neighbours have.
    let from = 0;
    let to = data.length;
    if (n > 0) from = Math.max(0, (pieces[n - 1].start + pieces[n - 1].bytes.length - start) | 0);
    if (n < pieces.length) to = Math.min(to, (pieces[n].start - start) | 0);
    if (from >= to) return;
    pieces.splice(n, 0, { start: (start + from) | 0, bytes: data.slice(from, to) });
    this.#bytes += to - from;
  }

  /** The bytes that follow `next`, if they are here. */
  take(next: number): Uint8Array | undefined {
    for (let first = this.#pieces[0]; first !== undefined; first = this.#pieces[0]) {
      const skip = (next - first.start) | 0;
      if (skip < 0) return undefined;
      this.#pieces.shift();
      this.#bytes -= first.bytes.length;
      if (skip < first.bytes.length) return first.bytes.subarray(skip);
    }
    return undefined;
  }

  /** Calls `found` for each range without a gap, in order. */
  ranges(found: (start: number, end: number) => void): void {
    const pieces = this.#pieces;
    for (let n = 0; n < pieces.length; ) {
      const { start } = pieces[n];
      let end = start;
      while (n < pieces.length && pieces[n].start === end) {
        end = (end + pieces[n].bytes.length) | 0;
        n++;
      }
      found(start, end);
    }
  }

  clear(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }
}
