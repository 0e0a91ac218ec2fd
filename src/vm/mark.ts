/**
 * A mark: what a machine was at one moment, kept in this process so that it goes
 * back there in place, any number of times. Everything here happens while its
 * threads are parked, and nothing is in flight.
 *
 * RAM is kept as a copy-on-write copy, as for a fork. To go back, the pages that
 * were written since are copied from it. A drive that the guest writes to is kept
 * as a snapshot inside its overlay.
 */
import { PAGE } from "../base/units.ts";
import { GuestMemory } from "../memory/guest-memory.ts";
import { announcePause, rewindCpu } from "../state/cpu-state.ts";
import { restoreKernelState } from "../state/kernel-state.ts";
import { MachineState } from "../state/machine-state.ts";
import { loadParts } from "../state/part-state.ts";
import { cpuCalls } from "../state/save.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { productVersion } from "../state/version.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import type { DirtyReader } from "./dirty-log.ts";
import { type Drives, driveName } from "./drives.ts";
import type { PowerCycle } from "./power-cycle.ts";
import { flushDrives } from "./save-machine.ts";
import type { CheckedOptions } from "./validate.ts";

/** Of the snapshot inside an overlay. */
const SNAPSHOT = "vmexit-mark";
const PAGES_PER_WORD = 32;

export class Mark {
  readonly #cycle: PowerCycle;
  readonly #path: string;
  readonly #state: MachineState;
  readonly #ram: GuestRam;
  readonly #memory: GuestMemory;
  readonly #written: DirtyReader;
  /** Parts whose overlay has the snapshot. */
  readonly #disks: readonly string[];

  private constructor(cycle: PowerCycle, path: string, state: MachineState, disks: readonly string[]) {
    const { ram, memory } = cycle.savable;
    this.#cycle = cycle;
    this.#path = path;
    this.#state = state;
    this.#disks = disks;
    this.#ram = ram.fork();
    try {
      this.#memory = new GuestMemory(this.#ram, memory.regions);
      this.#written = cycle.pages.open();
      this.#written.take(); // earlier pages are in the copy
    } catch (error) {
      this.#ram.close();
      throw error;
    }
  }

  /** @throws {SnapshotError} for a machine that cannot go back; {DriveError} for a disk that cannot be flushed */
  static async make(cycle: PowerCycle, options: CheckedOptions, drives: Drives): Promise<Mark> {
    const path = `mark of ${options.name}`;
    const disks = overlaidDrives(options, path);
    const state = MachineState.of(cycle.savable, path);
    await flushDrives(cycle, options, drives);
    for (const part of disks) {
      const { snapshots } = await cycle.order(part, { kind: "list-snapshots" });
      const isThere = snapshots.some(({ name }) => name === SNAPSHOT);
      if (isThere) await cycle.order(part, { kind: "delete-snapshot", name: SNAPSHOT });
      await cycle.order(part, { kind: "create-snapshot", name: SNAPSHOT });
    }
    return new Mark(cycle, path, state, disks);
  }

  /** Makes the machine what it was. @returns the pages of RAM that were copied */
  async rewind(): Promise<number> {
    const cycle = this.#cycle;
    for (const part of this.#disks) await cycle.order(part, { kind: "apply-snapshot", name: SNAPSHOT });
    const pages = this.#copyPages();
    this.#setState();
    return pages;
  }

  /** Forgets it, while the machine exists. */
  close(): void {
    this.#written.close();
    this.release();
  }

  /** Forgets it, when the power cycle has ended. */
  release(): void {
    this.#ram.close();
  }

  #copyPages(): number {
    const { memory } = this.#cycle.savable;
    const pages = this.#written.take();
    this.#written.wrote(pages);
    let count = 0;
    for (let word = 0; word < pages.length; word++) {
      for (let left = pages[word]; left !== 0; left &= left - 1) {
        const offset = (word * PAGES_PER_WORD + 31 - Math.clz32(left & -left)) * PAGE;
        memory.window(offset, PAGE).set(this.#memory.window(offset, PAGE));
        count++;
      }
    }
    return count;
  }

  #setState(): void {
    const cycle = this.#cycle;
    const { kvm, vm, vcpus, machine, memories } = cycle.savable;
    const state = this.#state;
    machine.lowerLines();
    loadParts(machine.arena, state.sections, this.#path, productVersion());
    state.fillBoard(memories);
    cycle.follow(state.monotonicNs);
    machine.driveLines();
    restoreKernelState(vm, state.kernel);
    const calls = cpuCalls({ kvm, vm });
    vcpus.forEach((vcpu, index) => {
      rewindCpu(vcpu, state.cpus[index], calls); // what this CPU refuses, it had refused to change before
    });
    for (const vcpu of vcpus) announcePause(vcpu);
  }
}

/** The parts of the drives that the guest writes to. @throws {SnapshotError} if one of them cannot go back */
function overlaidDrives({ drives }: CheckedOptions, path: string): string[] {
  return drives.flatMap((drive, n) => {
    const { source, readOnly, snapshot } = drive;
    if (readOnly) return [];
    if (source === undefined && snapshot) return [driveName(drive, n)];
    const what = source === undefined ? "the guest writes to its file" : "it is a disk of the program's own";
    throw new SnapshotError(
      path,
      `drives[${n}] cannot go back, because ${what}: give it snapshot: true, or readOnly: true`,
    );
  });
}
