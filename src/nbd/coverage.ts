/**
 * Which bytes of a read have arrived: a structured reply brings them in chunks,
 * in any order, and each byte has to come once.
 */

/** A reply that comes in more loose pieces than this is made to cost time. */
const MAX_PIECES = 1024;

export class Coverage {
  readonly #length: number;
  /** Pairs of start and end, ascending, none touching the next. */
  readonly #pieces: number[] = [];

  /** @param length bytes that have to arrive */
  constructor(length: number) {
    this.#length = length;
  }

  get isComplete(): boolean {
    const pieces = this.#pieces;
    return this.#length === 0 || (pieces.length === 2 && pieces[0] === 0 && pieces[1] === this.#length);
  }

  /** Adds a chunk. False if it is empty, outside, overlaps what has arrived, or is one piece too many. */
  add(start: number, length: number): boolean {
    const end = start + length;
    if (start < 0 || length <= 0 || end > this.#length) return false;
    const pieces = this.#pieces;
    // From the end: servers send in order.
    let at = pieces.length;
    while (at > 0 && pieces[at - 2] >= end) at -= 2;
    if (at > 0 && pieces[at - 1] > start) return false;
    const joinsBefore = at > 0 && pieces[at - 1] === start;
    const joinsAfter = at < pieces.length && pieces[at] === end;
    if (joinsBefore && joinsAfter) pieces.splice(at - 1, 2);
    else if (joinsBefore) pieces[at - 1] = end;
    else if (joinsAfter) pieces[at] = start;
    else if (pieces.length === 2 * MAX_PIECES) return false;
    else pieces.splice(at, 0, start, end);
    return true;
  }
}
