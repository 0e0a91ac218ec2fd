/**
 * What a machine has done so far, in numbers.
 *
 * Most exits of the hardware never reach user space (page faults, CPUID, HLT
 * and most MSR accesses are the kernel's): what is counted here is the returns
 * of KVM_RUN.
 */
import type { AddressSpace } from "../bus/address-space.ts";
import { exitName } from "../kvm/exit.ts";
import type { Blocks } from "../threads/blocks.ts";
import type { KernelCounters } from "../trace/format.ts";
import {
  BLK_BYTES_READ,
  BLK_BYTES_WRITTEN,
  BLK_ERRORS,
  BLK_FLUSHES,
  BLK_REQUESTS,
} from "../virtio/blk/blk-requests.ts";

export interface DriveStats {
  readonly requests: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly flushes: number;
  readonly errors: number;
}

export interface SerialStats {
  /** Bytes from the guest. */
  readonly bytesOut: number;
  /** Bytes that the guest's receiver took. */
  readonly bytesIn: number;
  /** Bytes from the guest that nobody was there to read. */
  readonly dropped: number;
}

export interface KernelStats {
  readonly vm: KernelCounters;
  /** By vCPU. */
  readonly vcpus: readonly KernelCounters[];
}

export interface VmStats {
  /** Returns of KVM_RUN by their api.rst name without KVM_EXIT_, all vCPUs together; absent if none. */
  readonly exits: Readonly<Record<string, number>>;
  /** The sum of `exits`. */
  readonly totalExits: number;
  /** KVM_RUN calls that were interrupted, to pause or by a signal. */
  readonly interrupted: number;
  /** Accesses by device, and "unclaimed"; absent if none. */
  readonly devices: Readonly<Record<string, number>>;
  /**
   * KVM's own counters, those that only grow; absent where the host's kernel has none. `exits` among them are the
   * hardware's, most of which never reach user space.
   * @see api.rst, 4.133 KVM_GET_STATS_FD
   */
  readonly kernel?: KernelStats;
  readonly drives: readonly DriveStats[];
  readonly serials: readonly SerialStats[];
}

/** Adds up the counters of one machine. */
export function countStats(
  shared: Blocks,
  ports: AddressSpace,
  memory: AddressSpace,
  drives: number,
): Omit<VmStats, "serials"> {
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
    drives: shared.virtio.slice(0, drives).map((counters) => ({
      requests: counters[BLK_REQUESTS],
      bytesRead: counters[BLK_BYTES_READ],
      bytesWritten: counters[BLK_BYTES_WRITTEN],
      flushes: counters[BLK_FLUSHES],
      errors: counters[BLK_ERRORS],
    })),
  };
}

/** The sum of two counts, for a machine that was reset. */
export function addStats(a: Omit<VmStats, "serials">, b: Omit<VmStats, "serials">): Omit<VmStats, "serials"> {
  return {
    exits: addRecords(a.exits, b.exits),
    totalExits: a.totalExits + b.totalExits,
    interrupted: a.interrupted + b.interrupted,
    devices: addRecords(a.devices, b.devices),
    ...(a.kernel === undefined || b.kernel === undefined ? {} : { kernel: addKernel(a.kernel, b.kernel) }),
    drives: b.drives.map((drive, n) => {
      const before = a.drives[n];
      return {
        requests: before.requests + drive.requests,
        bytesRead: before.bytesRead + drive.bytesRead,
        bytesWritten: before.bytesWritten + drive.bytesWritten,
        flushes: before.flushes + drive.flushes,
        errors: before.errors + drive.errors,
      };
    }),
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
