/** Copies of a machine, made while its threads are parked. */
import { copyFileSync } from "node:fs";
import type { VmOptions } from "../config/machine.ts";
import { MachineState, type SavedMachine } from "../state/machine-state.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { productVersion } from "../state/version.ts";
import { Drives } from "./drives.ts";
import { Networks } from "./networks.ts";
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
  /**
   * What the cards of copy `child` are connected to, in the same order. By default a user network of its own for each
   * card that has one without `hostfwd`. Address, MTU and queues of a card are those of the machine.
   */
  readonly network?: (child: number) => VmOptions["network"];
}

type Make<M> = (options: CheckedOptions, drives: Drives, networks: Networks, origin: Origin) => M;

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
  if (fork.network === undefined) refuseSharedNetworks(options, path);
  await flushDrives(cycle, options, drives);
  const { savable } = cycle;
  const saved: SavedMachine = {
    path,
    description: {
      ...{ spec: savable.machine.spec, vmexit: productVersion(), protocol: cycle.protocol },
      time: new Date().toISOString(),
    },
    state: MachineState.of(savable, path),
    ram: () => savable.ram.fork(),
  };
  const children: M[] = [];
  try {
    for (let child = 0; child < count; child++) {
      const own = optionsOf(options, fork, child, path);
      const images = await Drives.open(own.drives);
      let networks = Networks.none;
      try {
        networks = await Networks.open(own.network, own.vsock);
        images.overlays.forEach((overlay, n) => {
          const from = fork.drives === undefined ? drives.overlays[n] : undefined;
          if (overlay !== undefined && from !== undefined) copyFileSync(from, overlay);
        });
        children.push(make(own, images, networks, new StateOrigin(saved, "any", "advance")));
      } catch (error) {
        images.close();
        await networks.close();
        throw error;
      }
    }
    return children;
  } catch (error) {
    for (const child of children) await child.stop();
    throw error;
  }
}

function optionsOf(options: CheckedOptions, fork: ForkSources, child: number, path: string): CheckedOptions {
  const name = `${options.name}-fork${forks++}`;
  const given = {
    ...(fork.drives === undefined ? {} : { drives: fork.drives(child) }),
    ...(fork.devices === undefined ? {} : { devices: fork.devices(child) }),
    ...(fork.network === undefined ? {} : { network: cardsOf(options, fork.network(child) ?? [], path) }),
  };
  const checked = checkOptions({ ...savedOptions(options), kernel: options.kernel, ...given });
  const { drives, devices, ownDevices, network } = checked;
  return {
    ...options,
    name,
    ...(fork.drives === undefined ? {} : { drives }),
    ...(fork.devices === undefined ? {} : { devices, ownDevices }),
    ...(fork.network === undefined ? {} : { network }),
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

/** The machine's cards as their guest sees them, each connected as `given` says. */
function cardsOf(
  { network }: CheckedOptions,
  given: NonNullable<VmOptions["network"]>,
  path: string,
): object[] {
  if (given.length !== network.length) {
    throw new SnapshotError(
      path,
      `the machine has ${network.length} network cards, and the option network gives ${given.length}`,
    );
  }
  return network.map((card, n) => {
    const { tap, fds, bridge, user, connect, dump, upScript, downScript, ...seen } = card;
    return { ...seen, ...given[n] };
  });
}

/** An interface, a port of the host and a function of the program belong to one machine. */
function refuseSharedNetworks({ network }: CheckedOptions, path: string): void {
  network.forEach(({ user }, n) => {
    if (user !== undefined && (user.hostfwd?.length ?? 0) === 0) return;
    const what =
      user === undefined ? "it is not a user network" : "two machines cannot have its ports (hostfwd)";
    throw new SnapshotError(
      path,
      `network[${n}] cannot be shared, because ${what}: give each copy its network (the option network)`,
    );
  });
}
