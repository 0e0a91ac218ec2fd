/** The host's clocks, the same for every thread. */
import type { Clock } from "./ports.ts";

export type { Clock };

/**
 * The host's, except that a machine continues from the moment at which it was saved.
 * @param offsetNs one number, 0 for a new machine; shared, because a machine may go back to a mark
 */
export function machineClock(offsetNs: Float64Array): Clock {
  return { ...hostClock, monotonic: () => hostClock.monotonic() + offsetNs[0] };
}

export const hostClock: Clock = {
  now: () => Date.now(),
  // All threads share CLOCK_MONOTONIC; performance.now() starts at 0 in each thread.
  monotonic: () => Number(process.hrtime.bigint()),
};
