/** How this process ends, and which signals end it. */
import type { EndingSignal, Outcome } from "./exit-status.ts";

const NUMBERS: Readonly<Record<EndingSignal, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };
const ENDING_SIGNALS = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const;

/** Calls `listener` at the first ending signal; a second one ends the process at once. */
export function onEndingSignal(listener: (signal: EndingSignal) => void): void {
  let first = true;
  for (const signal of ENDING_SIGNALS) {
    process.on(signal, () => {
      // By exit(), not by the signal: handlers of 'exit' restore the terminal.
      if (!first) process.exit(128 + NUMBERS[signal]);
      first = false;
      listener(signal);
    });
  }
}

/** Ends the process when its output is written. A signal ends it by that signal, so that the parent sees it. */
export function endProcess(outcome: Outcome): void {
  const end = () => {
    if (typeof outcome === "number") process.exit(outcome);
    process.removeAllListeners(outcome);
    process.kill(process.pid, outcome);
    // Its own signal does not end the first process of a container.
    setTimeout(() => process.exit(128 + NUMBERS[outcome]), 100);
  };
  // The reader of a full pipe may never read again. After a signal, do not wait for it.
  if (typeof outcome === "string" || process.stdout.destroyed) end();
  else process.stdout.write("", end);
}
