/** The host's clocks, the same for every thread. */
import type { Clock } from "./ports.ts";

export type { Clock };

/** The host's, except that a machine continues from the moment at which it was saved. @param offsetNs 0 for a new one */
export function machineClock(offsetNs: number): Clock {
  return { ...hostClock, monotonic: () => hostClock.monotonic() + offsetNs };
}

export const hostClock: Clock = {
  now: () => Date.now(),
  // All threads share CLOCK_MONOTONIC; performance.now() starts at 0 in each thread.
  monotonic: () => Number(process.hrtime.bigint()),
};
