/**
 * The bytes of a read that have arrived: a structured reply has chunks in any order,
 * and each byte must arrive once.
 */

/** The limit of separate pieces: a reply with more is meant to cost time. */
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

  /** Adds a chunk. False if it is empty, outside, overlaps an earlier one, or exceeds the limit of pieces. */
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
