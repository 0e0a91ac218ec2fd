/** A power cycle that begins in the middle: where a snapshot was made. */

import { hostClock } from "../machine/clock.ts";
import { type CpuChoice, guestCpuid } from "../machine/cpuid.ts";
import type { Machine } from "../machine/machine.ts";
import { singleSocket } from "../machine/topology.ts";
import { cpuDifferences } from "../state/cpu-differences.ts";
import { announcePause, restoreCpu } from "../state/cpu-state.ts";
import { restoreKernelState } from "../state/kernel-state.ts";
import type { SavedMachine } from "../state/machine-state.ts";
import { loadParts } from "../state/part-state.ts";
import { cpuCalls } from "../state/save.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { specDifference } from "../state/spec-difference.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { changeGenerationId } from "./generation-id.ts";
import type { Hardware } from "./hardware.ts";
import type { Origin } from "./power-cycle.ts";

const NS_PER_MS = 1_000_000;
const HOST = { cpuid: guestCpuid };

/**
 * What the guest's clocks show: "continue": the time at which it was saved. "advance": the time that has passed
 * since then too.
 */
export type ClockPolicy = "continue" | "advance";

/** What becomes of CPU features that the snapshot's guest was shown, and this host does not have. */
export type CpuPolicy = "same" | "any";

export class StateOrigin implements Origin {
  readonly clockOffsetNs: number;
  readonly #saved: SavedMachine;
  readonly #cpu: CpuPolicy;
  readonly #choice: CpuChoice | undefined;
  /** By how much the guest's clocks are ahead of those that were saved. */
  readonly #passedNs: number;

  /** @param choice which CPU the guest was shown, if not simply the host's */
  constructor(saved: SavedMachine, cpu: CpuPolicy, clock: ClockPolicy, choice?: CpuChoice) {
    this.#saved = saved;
    this.#choice = choice;
    this.#cpu = cpu;
    this.#passedNs = clock === "advance" ? nsSince(saved.description.time) : 0;
    this.clockOffsetNs = saved.state.monotonicNs + this.#passedNs - hostClock.monotonic();
  }

  ram(): GuestRam {
    return this.#saved.ram();
  }

  /** @throws {SnapshotError} if the machine is not the one that was saved, or the host lacks what its guest uses */
  load(hardware: Hardware, machine: Machine): void {
    const { path, description, state } = this.#saved;
    const { cpus } = state;
    const difference = specDifference(description.spec, machine.spec);
    if (difference !== undefined) {
      throw new SnapshotError(
        path,
        `it is of another machine, made by vmexit ${description.vmexit}: ${difference}`,
      );
    }
    if (cpus.length !== hardware.vcpus.length) {
      throw new SnapshotError(
        path,
        `it has the state of ${cpus.length} CPUs, and its machine ${hardware.vcpus.length}`,
      );
    }
    if (this.#cpu === "same") this.#checkCpu(hardware);
    loadParts(machine.arena, state.sections, path, description.vmexit);
    state.fillBoard(hardware.memories);
  }

  /** Returns the boot protocol's name. @throws {SnapshotError} for what the host's CPU does not take; {KvmError} */
  fill(hardware: Hardware, machine: Machine): string {
    const { path, description, state: saved } = this.#saved;
    const { vm, vcpus } = hardware;
    machine.driveLines();
    restoreKernelState(vm, saved.kernel, this.#passedNs);
    const calls = cpuCalls(hardware);
    vcpus.forEach((vcpu, index) => {
      const state = saved.cpus[index];
      const refused = restoreCpu(vcpu, state, state.cpuid, calls, this.#passedNs);
      if (refused.length > 0 && this.#cpu === "same") {
        throw new SnapshotError(path, `CPU ${index}: this host does not take ${refused.join(", ")}`);
      }
    });
    // After all clocks are set: KVM notes the pause in the guest's memory.
    for (const vcpu of vcpus) announcePause(vcpu);
    changeGenerationId(hardware, machine);
    return description.protocol;
  }

  #checkCpu({ kvm, vcpus, supportedCpuid }: Hardware): void {
    const { path, state } = this.#saved;
    const tscDeadlineTimer = kvm.checkExtension("TSC_DEADLINE_TIMER") > 0;
    const guest = { index: 0, topology: singleSocket(vcpus.length) };
    // The same model as then: its vendor may be another than the host's.
    const here = (this.#choice ?? HOST).cpuid(supportedCpuid, guest, { tscDeadlineTimer });
    const missing = cpuDifferences(state.cpus[0].cpuid, here);
    if (missing.length === 0) return;
    throw new SnapshotError(
      path,
      `its guest may be using what this host does not have: ${missing.join(", ")}`,
    );
  }
}

/** Not less than 0: the clock of another host may be ahead. @param time in ISO 8601 */
function nsSince(time: string): number {
  return Math.max(0, Math.round(hostClock.now() - Date.parse(time))) * NS_PER_MS;
}
