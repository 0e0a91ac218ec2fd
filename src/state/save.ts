/**
 * Saves a paused machine: every thread is parked, and nothing is in flight.
 *
 * The order of what is said here and in vm/virtual-machine.ts: vCPUs park, and
 * each finishes the instruction that waits for an answer; the io thread finishes
 * what is in flight and leaves its cursors in the arena; disks are flushed; then
 * everything is copied.
 */
import { copyFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { hex } from "../base/hex.ts";
import type { Kvm } from "../kvm/system.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { Vm } from "../kvm/vm.ts";
import { RAM } from "../machine/kernel-wishes.ts";
import type { Machine } from "../machine/machine.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { vendorOf } from "./cpu-differences.ts";
import { type CpuCalls, isHypervisor, saveCpu } from "./cpu-state.ts";
import { saveKernelState } from "./kernel-state.ts";
import { type Manifest, manifestText } from "./manifest.ts";
import { msrsToSave } from "./msrs.ts";
import { saveParts } from "./part-state.ts";
import { writeRam } from "./ram-file.ts";
import { encodeSections, FORMAT, type Section } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";
import { MACHINE, NewSnapshotFolder, overlayFile, RAM_FILE, STATE } from "./snapshot-folder.ts";
import { productVersion } from "./version.ts";

/** What a machine's state consists of. */
export interface Savable {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  /** By name, RAM first. */
  readonly memories: ReadonlyMap<string, GuestRam>;
  readonly machine: Machine;
  /** The machine's own monotonic clock now: see Clock. */
  readonly monotonicNs: number;
}

/** What machine.json says besides. */
export interface Described extends Pick<Manifest, "name" | "options" | "protocol" | "drives"> {
  /** By drive: the file in which the guest's writes are, if the snapshot is to contain it. */
  readonly overlays: readonly (string | undefined)[];
}

/** A snapshot that was made. */
export interface SnapshotFacts {
  /** Absolute. */
  readonly dir: string;
  /** Bytes that RAM takes in the snapshot: pages that are not all zeros. */
  readonly ramBytes: number;
}

export const MEMORY_SECTION = "memory/";
/** The checksum of machine.json. */
export const MACHINE_SECTION = "machine.json";
export const CLOCK_SECTION = "machine-clock";

/** Which calls a machine's KVM has. */
export function cpuCalls({ kvm, vm }: Pick<Savable, "kvm" | "vm">): CpuCalls {
  return { sregs2: vm.checkExtension("SREGS2") > 0, msrs: msrsToSave(kvm.msrIndexList()) };
}

/**
 * @param place the folder to make, or a snapshot to replace
 * @throws {SnapshotError} for a machine that cannot be saved, or a place where something else is
 */
export async function saveSnapshot(
  place: string,
  from: Savable,
  described: Described,
): Promise<SnapshotFacts> {
  const folder = new NewSnapshotFolder(place);
  try {
    const ram = await writeRam(from.ram, from.memory, folder.file(RAM_FILE));
    const { overlays, ...said } = described;
    for (const [n, file] of overlays.entries()) {
      if (file !== undefined) copyFileSync(file, folder.file(overlayFile(n)));
    }
    const text = manifestText({
      format: FORMAT,
      vmexit: productVersion(),
      time: new Date().toISOString(),
      ...said,
      spec: from.machine.spec,
      ram,
      cpu: requirements(from),
    });
    folder.write(MACHINE, text);
    const sum = new Uint8Array(4);
    new DataView(sum.buffer).setUint32(0, crc32(text), true);
    const sections = [{ name: MACHINE_SECTION, version: 1, bytes: sum }];
    folder.write(STATE, encodeSections([...sections, ...stateSections(from, place)]));
    folder.commit();
    return { dir: folder.place, ramBytes: ram.pages * 4096 };
  } catch (error) {
    folder.abandon();
    throw error;
  }
}

/** All of a machine's state but RAM. @throws {SnapshotError} for a machine that cannot be saved */
export function stateSections(from: Savable, path: string): Section[] {
  const hypervisor = from.vcpus.findIndex(isHypervisor);
  if (hypervisor >= 0) {
    throw new SnapshotError(
      path,
      `CPU ${hypervisor} runs a hypervisor of the guest's own, whose state is not saved`,
    );
  }
  const calls = cpuCalls(from);
  const memories = [...from.memories].filter(([name]) => name !== RAM);
  const clock = new Uint8Array(8);
  new DataView(clock.buffer).setBigUint64(0, BigInt(Math.round(from.monotonicNs)), true);
  return [
    { name: CLOCK_SECTION, version: 1, bytes: clock },
    ...from.vcpus.flatMap((vcpu, index) => saveCpu(vcpu, index, calls)),
    ...saveKernelState(from.vm),
    ...saveParts(from.machine.arena),
    ...memories.map(([name, memory]) => {
      return {
        name: `${MEMORY_SECTION}${name}`,
        version: 1,
        bytes: new Uint8Array(memory.map(0, memory.size)),
      };
    }),
  ];
}

/** What a host must have, for people: the boot CPU's CPUID and the MSRs. */
function requirements({ kvm, vm, vcpus: [boot] }: Savable): object {
  const { cpuid } = boot;
  return {
    vendor: vendorOf(cpuid),
    cpuid: cpuid.map(({ function: leaf, index, eax, ebx, ecx, edx }) => {
      return `${hex(leaf)}.${index}: ${[eax, ebx, ecx, edx].map((word) => hex(word >>> 0)).join(" ")}`;
    }),
    msrs: cpuCalls({ kvm, vm }).msrs.map(hex),
  };
}
