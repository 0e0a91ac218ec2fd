/**
 * A stop watch that allocates nothing, for loops that run a million times a
 * second.
 *
 * Source: clock_gettime(2), CLOCK_MONOTONIC: the clock of process.hrtime(), the
 * same in every thread.
 */
import { check } from "./errors.ts";
import { native } from "./native.ts";

/**
 * A function that gives the ns since it was last called, and at its first call
 * the ns since the clock began. Whole numbers.
 */
export function lapTimer(): () => number {
  const lap = native.lapTimer();
  if (typeof lap !== "number") return lap;
  check(lap, "lapTimer", "making a timer");
  throw new TypeError("a timer is a function or an error");
}
