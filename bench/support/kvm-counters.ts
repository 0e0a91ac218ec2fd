/**
 * How many exits a monitor's guest had, and why, as the kernel counted them.
 *
 * KVM's own counters are in debugfs and always on. Exits by reason come from
 * histograms of the tracepoints kvm:kvm_exit (all; the kernel handles most) and
 * kvm:kvm_userspace_exit (those that return from KVM_RUN). The first kvm:kvm_fpu
 * says when the guest began to run. All are exact, the same for every monitor, and
 * need root.
 *
 * Source: Linux Documentation/trace/histogram.rst; api.rst, section 5, for the
 * numbers of exit reasons.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exitName } from "vmexit/kvm";
import { hardwareExitName } from "./hardware-exits.ts";

const DEBUGFS = "/sys/kernel/debug/kvm";
const TRACING = "/sys/kernel/debug/tracing";
/** A histogram: its tracepoint, and the trigger that makes it. */
const TO_USER = { event: `${TRACING}/events/kvm/kvm_userspace_exit`, trigger: "hist:keys=reason,errno" };
const TO_KERNEL = { event: `${TRACING}/events/kvm/kvm_exit`, trigger: "hist:keys=exit_reason,isa" };
/** Port accesses, also those that the kernel's chips serve. One of `rep ins` counts as KVM passes it on. */
const PORTS = { event: `${TRACING}/events/kvm/kvm_pio`, trigger: "hist:keys=port,rw" };
/** Each KVM_RUN begins by loading the guest's FPU: this tracepoint reports every KVM_RUN, and nothing else. */
const ENTRY = `${TRACING}/events/kvm/kvm_fpu`;

/** KVM's counters of the machine that process `pid` has; undefined where debugfs is not available. */
export function kvmCounters(pid: number): Map<string, number> | undefined {
  if (!existsSync(DEBUGFS)) return undefined;
  const counters = new Map<string, number>();
  // A directory PID-FD for each VM; a monitor may make one only to query KVM's capabilities.
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

/** KVM_RUN calls of the machine that process `pid` has, counted by the loads of the guest's FPU. */
export function kvmRuns(pid: number): number {
  return kvmCounters(pid)?.get("fpu_reload") ?? Number.NaN;
}

function counterIn(file: string): number | undefined {
  try {
    const text = readFileSync(file, "utf8").trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined; // some files are not counters and cannot be read
  }
}

/** Watches KVM_RUN of every VM of this machine, from `start` to `stop`. */
export class RunTrace {
  /**
   * @param all also count exits that the kernel handles, and port accesses, which adds some time to each
   * @returns false where tracing is not available
   */
  start(all = false): boolean {
    try {
      this.stop();
      for (const { event, trigger } of all ? [TO_USER, TO_KERNEL, PORTS] : [TO_USER]) {
        writeFileSync(join(event, "trigger"), trigger);
      }
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
    for (const { event, trigger } of [TO_USER, TO_KERNEL, PORTS]) {
      if (!readFileSync(join(event, "trigger"), "utf8").includes(trigger)) continue;
      writeFileSync(join(event, "trigger"), `!${trigger}`);
    }
  }

  /** Returns to user space so far, by reason. */
  exitsToUser(): Map<string, number> {
    // KVM_RUN that fails with -EINTR leaves an older reason.
    return histogram(TO_USER.event, /reason: +(\d+), errno: +(\d+)/, (reason, errno) =>
      errno === 0 ? exitName(reason) : "interrupted",
    );
  }

  /** All exits so far, by reason; empty unless `start` was called with `all`. */
  exits(): Map<string, number> {
    return histogram(TO_KERNEL.event, /exit_reason: +(\d+), isa: +(\d+)/, (reason, isa) =>
      hardwareExitName(isa, reason),
    );
  }

  /** Port accesses so far, by direction and port; empty unless `start` was called with `all`. */
  ports(): Map<string, number> {
    return histogram(PORTS.event, /port: +(\d+), rw: +(\d+)/, (port, isWrite) => {
      return `${isWrite === 1 ? "write" : "read"} 0x${port.toString(16)}`;
    });
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

/** Counts by name of two keys: the lines are like `{ reason: 2, errno: 0 } hitcount: 17`. */
function histogram(event: string, keys: RegExp, name: (a: number, b: number) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of readFileSync(join(event, "hist"), "utf8").split("\n")) {
    const hits = /hitcount: +(\d+)/.exec(line);
    const match = keys.exec(line);
    if (hits === null || match === null) continue;
    const key = name(Number(match[1]), Number(match[2]));
    counts.set(key, (counts.get(key) ?? 0) + Number(hits[1]));
  }
  return counts;
}
