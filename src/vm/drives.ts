/** Looks at the images of a machine's drives and completes its spec with what they say. */
import { RawImage } from "../block/raw.ts";
import { ramRegions } from "../machine/memory-map.ts";
import type { DriveSpec, MachineSpec } from "../machine/spec.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {SystemError} for an image that cannot be opened. */
export function specOf(options: CheckedOptions): MachineSpec {
  return {
    cpus: options.cpus,
    ram: ramRegions(options.memory),
    serialPorts: options.serialPorts,
    drives: options.drives.map(({ file, readOnly, serial, queues, writeCache }): DriveSpec => {
      const { size, blockSize } = RawImage.describe(file, { readOnly });
      return { size, blockSize, readOnly, serial, queues, writeCache };
    }),
    rng: options.rng,
    devices: options.ownDevices,
    traceUnclaimed: options.onUnclaimed !== undefined,
  };
}
