/**
 * How often a monitor's guest left guest mode, and why, as the kernel counted it.
 *
 * KVM's own counters are in debugfs and always on. The returns to user space by
 * reason come from a histogram that the tracepoint kvm:kvm_userspace_exit fills:
 * exact, and the same for every monitor. Both need root.
 *
 * Source: Linux Documentation/trace/histogram.rst; api.rst, section 5, for the
 * numbers of exit reasons.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exitName } from "vmexit/kvm";

const DEBUGFS = "/sys/kernel/debug/kvm";
const TRACEPOINT = "/sys/kernel/debug/tracing/events/kvm/kvm_userspace_exit";
const HISTOGRAM = "hist:keys=reason,errno";

/** KVM's counters of the machine that process `pid` has; undefined where debugfs is not to be had. */
export function kvmCounters(pid: number): Map<string, number> | undefined {
  if (!existsSync(DEBUGFS)) return undefined;
  const counters = new Map<string, number>();
  // A directory PID-FD for each VM; a monitor may have made one only to ask what KVM can do.
  for (const machine of readdirSync(DEBUGFS).filter((name) => name.startsWith(`${pid}-`))) {
    const folder = join(DEBUGFS, machine);
    for (const file of readdirSync(folder, { withFileTypes: true })) {
      if (!file.isFile()) continue;
      const value = counterIn(join(folder, file.name));
      if (value !== undefined) counters.set(file.name, (counters.get(file.name) ?? 0) + value);
    }
  }
  return counters;
}

function counterIn(file: string): number | undefined {
  try {
    const text = readFileSync(file, "utf8").trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined; // some are no counters and cannot be read
  }
}

/** Counts returns to user space of every VM of this machine, from its construction to `stop`. */
export class UserspaceExits {
  readonly #active: boolean;

  constructor() {
    this.#active = setTrigger(HISTOGRAM);
  }

  /** By reason so far; undefined where the tracepoint is not to be had. */
  read(): Map<string, number> | undefined {
    if (!this.#active) return undefined;
    const exits = new Map<string, number>();
    for (const match of readFileSync(join(TRACEPOINT, "hist"), "utf8").matchAll(
      /\{ reason: +(\d+), errno: +(-?\d+) \} hitcount: +(\d+)/g,
    )) {
      const [, reason, errno, count] = match.map(Number);
      // After a signal, the reason is that of the exit before.
      const name = errno < 0 ? "interrupted" : exitName(reason);
      exits.set(name, (exits.get(name) ?? 0) + count);
    }
    return exits;
  }

  stop(): void {
    if (this.#active) setTrigger(`!${HISTOGRAM}`);
  }
}

function setTrigger(trigger: string): boolean {
  try {
    writeFileSync(join(TRACEPOINT, "trigger"), trigger);
    return true;
  } catch {
    return false;
  }
}
