/** A machine as plain data: from checked options, and what its disks say of themselves. */
import { ramRegions } from "../machine/memory-map.ts";
import type { MachineSpec } from "../machine/spec.ts";
import type { Drives } from "./drives.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {SystemError | ImageError} for an image that cannot be used */
export function machineSpec(options: CheckedOptions, drives: Drives): MachineSpec {
  const rng = options.rng ? [{ kind: "virtio-rng", name: "virtio-rng", config: {} }] : [];
  return {
    board: options.machine,
    cpus: options.cpus,
    ram: ramRegions(options.memory),
    serialPorts: options.serialPorts,
    devices: [...drives.devices, ...rng],
    own: options.ownDevices,
  };
}
