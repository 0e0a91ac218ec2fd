/** An option of the library or the command that cannot be used, and why. */
export class OptionError extends Error {
  override readonly name = "OptionError";
  readonly code = "EOPTION";
}

/** ` (did you mean "format"?)`, to append to an error about `word`; "" if no candidate is close. */
export function didYouMean(word: string, candidates: Iterable<string>, prefix = ""): string {
  const meant = nearest(word, candidates);
  return meant === undefined ? "" : ` (did you mean "${prefix}${meant}"?)`;
}

/**
 * The candidate that `word` was probably meant to be, for "did you mean";
 * undefined if none is close. Case is ignored.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const typed = word.toLowerCase();
  let best: string | undefined;
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= least) continue; // bounds the work on an absurd word
    const distance = editDistance(typed, candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

/** Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replaced, last[j] + 1, row[j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        row[j] = Math.min(row[j], beforeLast[j - 2] + 1);
      }
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length];
}
