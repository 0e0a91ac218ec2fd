/**
 * The counters of a machine.
 *
 * Most hardware exits never reach user space: the kernel handles page faults,
 * CPUID, HLT and most MSR accesses. Counted here are the returns of KVM_RUN.
 */
import type { AddressSpace } from "../bus/address-space.ts";
import { exitName } from "../kvm/exit.ts";
import type { Blocks } from "../threads/blocks.ts";
import type { KernelCounters } from "../trace/format.ts";
export interface DriveStats {
  readonly requests: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly flushes: number;
  readonly errors: number;
}

/** Frames with their headers, as the guest sees them. */
export interface NetworkStats {
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  /** Frames that the guest had no buffers for, or whose link was down. */
  readonly receivedDropped: number;
  readonly sentFrames: number;
  readonly sentBytes: number;
  /** Frames that the host did not take. */
  readonly sentDropped: number;
}

export interface SerialStats {
  /** Bytes from the guest. */
  readonly bytesOut: number;
  /** Bytes that the guest's receiver took. */
  readonly bytesIn: number;
  /** Bytes from the guest that came before the first reader and were discarded. */
  readonly dropped: number;
}

export interface KernelStats {
  readonly vm: KernelCounters;
  /** By vCPU. */
  readonly vcpus: readonly KernelCounters[];
}

export interface VmStats {
  /** Returns of KVM_RUN of all vCPUs, by their api.rst name without KVM_EXIT_; only those that occurred. */
  readonly exits: Readonly<Record<string, number>>;
  /** The sum of `exits`. */
  readonly totalExits: number;
  /** KVM_RUN calls that were interrupted by a pause or a signal. */
  readonly interrupted: number;
  /** Accesses by device, and "unclaimed"; only those that occurred. */
  readonly devices: Readonly<Record<string, number>>;
  /**
   * Those of KVM's counters that only grow; absent if the host's kernel has no such counters. Its `exits` are
   * hardware exits, most of which never reach user space.
   * @see api.rst, 4.133 KVM_GET_STATS_FD
   */
  readonly kernel?: KernelStats;
  readonly drives: readonly DriveStats[];
  readonly networks: readonly NetworkStats[];
  readonly serials: readonly SerialStats[];
}

/** Counts of one power cycle. Each part names its own counters. */
export interface CycleStats extends Omit<VmStats, "serials" | "drives" | "networks"> {
  readonly parts: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** Adds up the counters of one power cycle. */
export function countStats(shared: Blocks, ports: AddressSpace, memory: AddressSpace): CycleStats {
  const exits: Record<string, number> = {};
  const devices: Record<string, number> = {};
  let totalExits = 0;
  let interrupted = 0;
  const add = (to: Record<string, number>, name: string, count: number) => {
    if (count > 0) to[name] = (to[name] ?? 0) + count;
  };
  for (const counters of shared.counters) {
    interrupted += counters.interrupted[0];
    counters.exits.forEach((count, reason) => {
      add(exits, exitName(reason), count);
      totalExits += count;
    });
    for (const [index, name] of ports.names.entries()) add(devices, name, counters.ports[index]);
    for (const [index, name] of memory.names.entries()) add(devices, name, counters.memory[index]);
  }
  return {
    exits,
    totalExits,
    interrupted,
    devices,
    parts: Object.fromEntries(
      [...shared.parts.counters].map(([part, { fields, values }]) => [
        part,
        Object.fromEntries(fields.map((field, n) => [field, values[n]])),
      ]),
    ),
  };
}

/** The counts as `vm.stats()` returns them. @param drives names of their parts, as are `networks` */
export function vmStats(
  { parts, ...counted }: CycleStats,
  drives: readonly string[],
  networks: readonly string[],
  serials: readonly SerialStats[],
): VmStats {
  const count = (name: string, field: string) => parts[name]?.[field] ?? 0;
  return {
    ...counted,
    drives: drives.map((name) => ({
      requests: count(name, "requests"),
      bytesRead: count(name, "bytesRead"),
      bytesWritten: count(name, "bytesWritten"),
      flushes: count(name, "flushes"),
      errors: count(name, "errors"),
    })),
    networks: networks.map((name) => ({
      receivedFrames: count(name, "receivedFrames"),
      receivedBytes: count(name, "receivedBytes"),
      receivedDropped: count(name, "receivedDropped"),
      sentFrames: count(name, "sentFrames"),
      sentBytes: count(name, "sentBytes"),
      sentDropped: count(name, "sentDropped"),
    })),
    serials: serials.map(({ bytesOut, bytesIn, dropped }) => ({ bytesOut, bytesIn, dropped })),
  };
}

/** The sum of two counts, for a machine that was reset. */
export function addStats(a: CycleStats, b: CycleStats): CycleStats {
  return {
    exits: addRecords(a.exits, b.exits),
    totalExits: a.totalExits + b.totalExits,
    interrupted: a.interrupted + b.interrupted,
    devices: addRecords(a.devices, b.devices),
    ...(a.kernel === undefined || b.kernel === undefined ? {} : { kernel: addKernel(a.kernel, b.kernel) }),
    parts: Object.fromEntries(
      Object.entries(b.parts).map(([part, counts]) => [part, addRecords(a.parts[part] ?? {}, counts)]),
    ),
  };
}

function addKernel(a: KernelStats, b: KernelStats): KernelStats {
  return {
    vm: addRecords(a.vm, b.vm),
    vcpus: b.vcpus.map((counters, n) => addRecords(a.vcpus[n], counters)),
  };
}

function addRecords(
  a: Readonly<Record<string, number>>,
  b: Readonly<Record<string, number>>,
): Record<string, number> {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum;
}
