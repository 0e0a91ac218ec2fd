/**
 * Saves a machine. RAM may be copied while it runs, as long as pages that are
 * written meanwhile are copied again. The rest is copied while it is paused: every
 * thread is parked, and nothing is in flight.
 *
 * The order of what is done here and in vm/: vCPUs park, and each finishes the
 * instruction that waits for an answer; the io thread finishes what is in flight
 * and leaves its cursors in the arena; disks are flushed; then everything is
 * copied. Checksums are computed afterwards, from the files.
 */
import { constants, copyFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { crc32 } from "node:zlib";
import { hex } from "../base/hex.ts";
import { PAGE } from "../base/units.ts";
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
import { type Manifest, manifestText, type ParentSnapshot } from "./manifest.ts";
import { msrsToSave } from "./msrs.ts";
import { encodeRuns, type PageRun, runsOfBitmap } from "./page-runs.ts";
import { saveParts } from "./part-state.ts";
import { examineRam, RamCopy } from "./ram-file.ts";
import { CONTINUED_FORMAT, encodeSections, FORMAT, type Section } from "./sections.ts";
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
  /** Bytes that RAM takes in the snapshot: pages that are not all zeros, or were written since the parent. */
  readonly ramBytes: number;
  /** The snapshot that it continues. Absolute. Undefined: it is whole. */
  readonly parent: string | undefined;
}

export interface WrittenSnapshot extends SnapshotFacts {
  /** CRC-32 of its `state`. */
  readonly state: number;
}

export const MEMORY_SECTION = "memory/";
/** The pages that `ram` has, in a snapshot that continues another: see page-runs.ts. */
export const PAGES_SECTION = "ram-pages";
/** The checksum of machine.json. */
export const MACHINE_SECTION = "machine.json";
export const CLOCK_SECTION = "machine-clock";

/** Which calls a machine's KVM has. */
export function cpuCalls({ kvm, vm }: Pick<Savable, "kvm" | "vm">): CpuCalls {
  return { sregs2: vm.checkExtension("SREGS2") > 0, msrs: msrsToSave(kvm.msrIndexList()) };
}

/** A snapshot while it is written: RAM, then the rest, then `commit`. */
export class SnapshotWriter {
  readonly #folder: NewSnapshotFolder;
  readonly #parent: ParentSnapshot | undefined;
  #ram: RamCopy | undefined;
  #runs: readonly PageRun[] = [];
  #sections: readonly Section[] = [];
  #described: Omit<Manifest, "ram"> | undefined;

  /**
   * @param place the folder to make, or a snapshot to replace
   * @param parent the snapshot that it continues, if it is not whole
   * @throws {SnapshotError} for a place where something else is
   */
  constructor(place: string, parent?: ParentSnapshot) {
    this.#folder = new NewSnapshotFolder(place);
    this.#parent = parent;
  }

  /** Where RAM is copied to. */
  ramCopy({ ram, memory }: Pick<Savable, "ram" | "memory">): RamCopy {
    this.#ram ??= new RamCopy(ram, memory, this.#folder.file(RAM_FILE));
    return this.#ram;
  }

  /**
   * Takes everything but RAM, while nothing in the machine moves.
   * @param pages those that were copied, if it continues another: a bit a page
   * @throws {SnapshotError} for a machine that cannot be saved
   */
  takeState(from: Savable, described: Described, pages: Uint32Array | undefined): void {
    const { overlays, ...said } = described;
    for (const [n, file] of overlays.entries()) {
      if (file !== undefined)
        copyFileSync(file, this.#folder.file(overlayFile(n)), constants.COPYFILE_FICLONE);
    }
    this.#described = {
      format: this.#parent === undefined ? FORMAT : CONTINUED_FORMAT,
      vmexit: productVersion(),
      time: new Date().toISOString(),
      ...said,
      spec: from.machine.spec,
      parent: this.#parent,
      cpu: requirements(from),
    };
    this.#sections = stateSections(from, this.#folder.place);
    if (pages !== undefined) this.#runs = runsOfBitmap(pages);
  }

  /** Adds checksums and puts the snapshot in its place. The machine may run. */
  async commit(): Promise<WrittenSnapshot> {
    const folder = this.#folder;
    const described = this.#described;
    if (described === undefined) throw new Error("a snapshot has no state yet");
    this.#ram?.close();
    const isContinued = this.#parent !== undefined;
    const ram = await examineRam(folder.file(RAM_FILE), isContinued ? this.#runs : undefined);
    const text = manifestText({ ...described, ram });
    folder.write(MACHINE, text);
    const sum = new Uint8Array(4);
    new DataView(sum.buffer).setUint32(0, crc32(text), true);
    const state = encodeSections(
      [
        { name: MACHINE_SECTION, version: 1, bytes: sum },
        ...(isContinued ? [{ name: PAGES_SECTION, version: 1, bytes: encodeRuns(this.#runs) }] : []),
        ...this.#sections,
      ],
      described.format,
    );
    folder.write(STATE, state);
    folder.commit();
    const { name } = this.#parent ?? {};
    const parent = name === undefined ? undefined : join(dirname(folder.place), name);
    return { dir: folder.place, ramBytes: ram.pages * PAGE, parent, state: crc32(state) };
  }

  /** Deletes what was written. */
  abandon(): void {
    this.#ram?.close();
    this.#folder.abandon();
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
        bytes: new Uint8Array(memory.map(0, memory.size)).slice(), // a copy: the machine runs on
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
