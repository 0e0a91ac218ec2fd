/** The host's clocks, the same for every thread. */
import type { Clock } from "./ports.ts";

export type { Clock };

export const hostClock: Clock = {
  now: () => Date.now(),
  // CLOCK_MONOTONIC is one for the process; performance.now() starts anew in each thread.
  monotonic: () => Number(process.hrtime.bigint()),
};
