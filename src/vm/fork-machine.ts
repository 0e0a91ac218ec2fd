/** Copies of a machine, made while its threads are parked. */
import { copyFileSync } from "node:fs";
import type { VmOptions } from "../config/machine.ts";
import { MachineState, type SavedMachine } from "../state/machine-state.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { productVersion } from "../state/version.ts";
import { Drives } from "./drives.ts";
import type { Origin, PowerCycle } from "./power-cycle.ts";
import { flushDrives } from "./save-machine.ts";
import { savedOptions } from "./saved-options.ts";
import { StateOrigin } from "./state-origin.ts";
import { type CheckedOptions, checkOptions } from "./validate.ts";

/** What the copies do not share. */
export interface ForkSources {
  /** The drives of copy `child`, in the same order. By default those of the machine, which are read-only or have `snapshot`. */
  readonly drives?: (child: number) => VmOptions["drives"];
  /** Devices of your own for copy `child`, at the same places. By default those of the machine. */
  readonly devices?: (child: number) => VmOptions["devices"];
}

type Make<M> = (options: CheckedOptions, drives: Drives, origin: Origin) => M;

/** Copies that this process made, for their names. */
let forks = 0;

/** @throws {SnapshotError} for a machine that cannot be copied; no copy is left then */
export async function forkMachine<M extends { stop(): Promise<void> }>(
  cycle: PowerCycle,
  options: CheckedOptions,
  drives: Drives,
  count: number,
  fork: ForkSources,
  make: Make<M>,
): Promise<M[]> {
  const path = `fork of ${options.name}`;
  if (fork.drives === undefined) refuseSharedDrives(options, path);
  if (options.network.length > 0)
    throw new SnapshotError(path, "a machine with network cards cannot be copied");
  await flushDrives(cycle, options, drives);
  const { savable } = cycle;
  const saved: SavedMachine = {
    path,
    description: { spec: savable.machine.spec, vmexit: productVersion(), protocol: cycle.protocol },
    state: MachineState.of(savable, path),
    ram: () => savable.ram.fork(),
  };
  const children: M[] = [];
  try {
    for (let child = 0; child < count; child++) {
      const own = optionsOf(options, fork, child);
      const images = await Drives.open(own.drives);
      try {
        images.overlays.forEach((overlay, n) => {
          const from = fork.drives === undefined ? drives.overlays[n] : undefined;
          if (overlay !== undefined && from !== undefined) copyFileSync(from, overlay);
        });
        children.push(make(own, images, new StateOrigin(saved, "any")));
      } catch (error) {
        images.close();
        throw error;
      }
    }
    return children;
  } catch (error) {
    for (const child of children) await child.stop();
    throw error;
  }
}

function optionsOf(options: CheckedOptions, fork: ForkSources, child: number): CheckedOptions {
  const name = `${options.name}-fork${forks++}`;
  const given = {
    ...(fork.drives === undefined ? {} : { drives: fork.drives(child) }),
    ...(fork.devices === undefined ? {} : { devices: fork.devices(child) }),
  };
  const checked = checkOptions({ ...savedOptions(options), kernel: options.kernel, ...given });
  const { drives, devices, ownDevices } = checked;
  return {
    ...options,
    name,
    ...(fork.drives === undefined ? {} : { drives }),
    ...(fork.devices === undefined ? {} : { devices, ownDevices }),
  };
}

/** Two machines that write to one file system destroy it. */
function refuseSharedDrives({ drives }: CheckedOptions, path: string): void {
  drives.forEach(({ source, readOnly, snapshot }, n) => {
    if (source === undefined && (readOnly || snapshot)) return;
    const what = source === undefined ? "the guest writes to its file" : "it is a disk of the program's own";
    throw new SnapshotError(
      path,
      `drives[${n}] cannot be shared, because ${what}: give it snapshot: true, or give each copy its drives (the option drives)`,
    );
  });
}
