/**
 * How `vmexit run` ends: one status for each kind of ending.
 *
 * The command's own statuses are even, except 1. A guest has the odd ones, by
 * isa-debug-exit as in QEMU, so its statuses differ from those of the command.
 */
import type { Ending } from "../threads/shared.ts";

/** Signals that end a process by default and that people and service managers send. */
export type EndingSignal = "SIGHUP" | "SIGINT" | "SIGQUIT" | "SIGTERM";

/** An exit status, or the signal that the process dies of. */
export type Outcome = number | EndingSignal;

export interface ExitStatusRow {
  /** As printed by help. */
  readonly status: string;
  readonly meaning: string;
}

export const OK = 0;
export const FAILED = 1;
export const USAGE = 2;
const CRASHED = 4;
export const STOPPED = 6;
/** As if SIGPIPE had ended the process: Node ignores that signal, and a write fails with EPIPE. */
export const OUTPUT_CLOSED = 128 + 13;

/** The table in `vmexit help` and docs/cli.md. */
export const EXIT_STATUSES: readonly ExitStatusRow[] = [
  { status: `${OK}`, meaning: "the guest powered off, or reset itself with -no-reboot" },
  { status: `${FAILED}`, meaning: "vmexit failed: KVM, a file, or a kernel that cannot be started" },
  { status: `${USAGE}`, meaning: "the command line cannot be used" },
  {
    status: `${CRASHED}`,
    meaning: "the guest crashed: a triple fault, a kernel panic, or an exit that cannot be served",
  },
  { status: `${STOPPED}`, meaning: "stopped at the keyboard: Ctrl-A x" },
  { status: "odd", meaning: "the guest wrote V to isa-debug-exit: (V << 1) | 1, in 8 bits" },
  {
    status: "128+N",
    meaning:
      "ended by signal N: 129 SIGHUP, 130 SIGINT, 141 SIGPIPE (no process reads its output), 143 SIGTERM",
  },
];

/** The status for a machine that ended by itself, or was stopped at the keyboard. */
export function statusOf(ending: Ending): number {
  switch (ending.reason) {
    case "poweroff":
    case "reset":
      return OK;
    case "stopped":
      return STOPPED;
    case "crash":
      return CRASHED;
    case "exit":
      return (ending.status ?? FAILED) & 0xff;
  }
}

export function exitStatusHelp(): string {
  const width = Math.max(...EXIT_STATUSES.map((row) => row.status.length));
  return EXIT_STATUSES.map((row) => `  ${row.status.padEnd(width)}  ${row.meaning}\n`).join("");
}
