/** How this process ends and what may ask it to. */
import type { EndingSignal, Outcome } from "./exit-status.ts";

const NUMBERS: Readonly<Record<EndingSignal, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };
const ENDING_SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const;

/** Calls `listener` at the first ending signal; a second one ends the process at once. */
export function onEndingSignal(listener: (signal: EndingSignal) => void): void {
  let first = true;
  for (const signal of ENDING_SIGNALS) {
    process.on(signal, () => {
      // By exit(), not by the signal: the handlers of 'exit' give the terminal back.
      if (!first) process.exit(128 + NUMBERS[signal]);
      first = false;
      listener(signal);
    });
  }
}

/** Ends the process when what it printed is out; of the signal itself, where there was one, so that the parent sees it. */
export function endProcess(outcome: Outcome): void {
  const end = () => {
    if (typeof outcome === "number") process.exit(outcome);
    process.removeAllListeners(outcome);
    process.kill(process.pid, outcome);
    // The first process of a container does not die of its own signals.
    setTimeout(() => process.exit(128 + NUMBERS[outcome]), 100);
  };
  // A reader of a full pipe may never come back; after a signal nobody waits for it.
  if (typeof outcome === "string" || process.stdout.destroyed) end();
  else process.stdout.write("", end);
}
