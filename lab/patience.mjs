/**
 * How long to wait for something in the lab: the one place where time limits follow its speed.
 *
 * The lab measures itself from its start on (lab/run-inside); a busy machine makes it several times slower
 * than an idle one. Outside the lab a limit is what it says.
 */
import { readFileSync } from "node:fs";

/** In hundredths: 100 for an idle development machine, 250 where the same work takes 2.5 times as long. */
const MEASURED = "/run/lab/slowness";

/** How many times slower than an idle development machine the lab was in the last minute; 1 elsewhere. */
export function slowness(file = MEASURED) {
  try {
    return Math.max(1, Number.parseInt(readFileSync(file, "utf8"), 10) / 100 || 1);
  } catch {
    return 1; // not in the lab
  }
}

/**
 * A limit for something that takes at most `ms` milliseconds on an idle development machine.
 *
 * @param {number} ms
 */
export function patience(ms, file = MEASURED) {
  return Math.round(ms * slowness(file));
}
