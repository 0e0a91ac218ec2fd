/**
 * How often a monitor's guest left guest mode, and why, as the kernel counted it.
 *
 * KVM's own counters are in debugfs and always on. The returns to user space by
 * reason come from a histogram that the tracepoint kvm:kvm_userspace_exit fills,
 * when the guest began to run from the first kvm:kvm_fpu: exact, and the same for
 * every monitor. All need root.
 *
 * Source: Linux Documentation/trace/histogram.rst; api.rst, section 5, for the
 * numbers of exit reasons.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exitName } from "vmexit/kvm";

const DEBUGFS = "/sys/kernel/debug/kvm";
const TRACING = "/sys/kernel/debug/tracing";
const EXIT = `${TRACING}/events/kvm/kvm_userspace_exit`;
const HISTOGRAM = "hist:keys=reason,errno";
/** Each KVM_RUN begins with loading the guest's FPU: the tracepoint that tells of every entry and of no other exit. */
const ENTRY = `${TRACING}/events/kvm/kvm_fpu`;

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

/** KVM_RUN calls of the machine that process `pid` has: each begins with loading the guest's FPU, and is counted so. */
export function kvmRuns(pid: number): number {
  return kvmCounters(pid)?.get("fpu_reload") ?? Number.NaN;
}

function counterIn(file: string): number | undefined {
  try {
    const text = readFileSync(file, "utf8").trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined; // some are no counters and cannot be read
  }
}

/** Watches KVM_RUN of every VM of this machine, from `start` to `stop`. */
export class RunTrace {
  /** False where tracing is not to be had. */
  start(): boolean {
    try {
      this.stop();
      writeFileSync(join(EXIT, "trigger"), HISTOGRAM);
      writeFileSync(join(TRACING, "trace_clock"), "mono");
      writeFileSync(join(TRACING, "options/overwrite"), "0"); // keeps the first ones
      writeFileSync(join(TRACING, "trace"), "");
      writeFileSync(join(ENTRY, "filter"), "load == 1");
      writeFileSync(join(ENTRY, "enable"), "1");
      return true;
    } catch {
      return false;
    }
  }

  stop(): void {
    writeFileSync(join(ENTRY, "enable"), "0");
    if (readFileSync(join(EXIT, "trigger"), "utf8").includes(HISTOGRAM)) {
      writeFileSync(join(EXIT, "trigger"), `!${HISTOGRAM}`);
    }
  }

  /** Returns to user space so far, by reason. */
  exits(): Map<string, number> {
    const exits = new Map<string, number>();
    const text = readFileSync(join(EXIT, "hist"), "utf8");
    for (const match of text.matchAll(/\{ reason: +(\d+), errno: +(\d+) \} hitcount: +(\d+)/g)) {
      const [, reason, errno, count] = match.map(Number);
      // KVM_RUN failed with -EINTR, printed as if it had no sign; the reason is then an older one.
      const name = errno === 0 ? exitName(reason) : "interrupted";
      exits.set(name, (exits.get(name) ?? 0) + count);
    }
    return exits;
  }

  /** When a guest ran first, by performance.now(). */
  firstEntry(): number {
    const text = readFileSync(join(TRACING, "trace"), "utf8");
    const first = Math.min(
      ...Array.from(text.matchAll(/ (\d+\.\d+): kvm_fpu:/g), (match) => Number(match[1])),
    );
    const sinceBoot = Number(process.hrtime.bigint()) / 1e6 - performance.now(); // both are CLOCK_MONOTONIC
    return first * 1000 - sinceBoot;
  }
}
