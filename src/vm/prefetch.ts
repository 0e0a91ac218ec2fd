/**
 * A machine that is restored with its working set: read ahead if an earlier
 * machine from this snapshot has recorded it, and else recorded.
 */
import { join } from "node:path";
import type { SavedMachine } from "../state/machine-state.ts";
import type { Snapshot } from "../state/open-snapshot.ts";
import { WORKING_SET } from "../state/snapshot-folder.ts";
import { prefetch, readWorkingSet, writeWorkingSet } from "../state/working-set.ts";
import { GuestRam } from "../sys/guest-ram.ts";
import type { VirtualMachine } from "./virtual-machine.ts";

/** The pages of so long a time after the first instruction are the working set. */
const RECORDED_MS = 2_000;

export class Prefetch {
  readonly #snapshot: Snapshot;
  readonly #file: string;
  #ram: GuestRam | undefined;

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
    this.#file = join(snapshot.path, WORKING_SET);
  }

  /** What the machine is made from. */
  get saved(): SavedMachine {
    const { path, description, state } = this.#snapshot;
    const ram = () => {
      const made = this.#snapshot.ram();
      this.#ram = GuestRam.attach(made.token); // a handle of its own: the machine may end first
      return made;
    };
    return { path, description, state, ram };
  }

  /** Reads ahead, or sees to it that the working set is recorded. */
  async begin(vm: VirtualMachine): Promise<void> {
    const ram = this.#ram;
    if (ram === undefined) return;
    const runs = readWorkingSet(this.#file, ram.size);
    if (runs !== undefined) {
      try {
        return await prefetch(this.#snapshot.ramPath, runs, ram);
      } finally {
        ram.close();
      }
    }
    const record = () => {
      if (this.#ram === undefined) return;
      this.#ram = undefined;
      writeWorkingSet(this.#file, ram);
      ram.close();
    };
    vm.once("resumed", () => setTimeout(record, RECORDED_MS).unref());
    void vm.exited.then(record);
  }
}
