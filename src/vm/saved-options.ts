/** The options of a machine as a snapshot keeps them: all that its guest can see. */

import { DEVICES } from "../config/devices.ts";
import { isNbdName } from "../nbd/address.ts";
import { identify } from "../state/drive-identity.ts";
import type { SavedDrive, SavedOptions } from "../state/manifest.ts";
import { driveName } from "./drives.ts";
import type { CheckedOptions } from "./validate.ts";

/** Files, handlers and policies belong to the host: whoever restores gives them anew. */
export function savedOptions(options: CheckedOptions): SavedOptions {
  const { machine, memory, cpus, serialPorts, pit, generationId, cpu, topology, numa } = options;
  const { rtcOffset, rtcSlew } = options;
  const devices = Object.entries(DEVICES).flatMap(
    ([option, { device, isMany, isSaved }]): [string, object][] => {
      const config: unknown = Reflect.get(options, option);
      if (isMany !== (isSaved === true) || typeof config !== "object" || config === null) return [];
      const given = (each: object) => {
        return Object.fromEntries(Object.entries(each).filter(([key]) => key in device.options));
      };
      if (!Array.isArray(config)) return [[option, given(config)]];
      return config.length === 0 ? [] : [[option, config.map(given)]];
    },
  );
  return {
    ...Object.fromEntries(devices),
    machine,
    memory,
    cpus,
    serialPorts,
    pit,
    generationId,
    cpu,
    topology,
    rtcOffset,
    rtcSlew,
    numa,
  };
}

export function savedDrives({ drives }: CheckedOptions): SavedDrive[] {
  return drives.map((drive, n) => {
    const { file, source, snapshot } = drive;
    const isFile = source === undefined && file !== undefined && !isNbdName(file);
    return { name: driveName(drive, n), file: isFile ? identify(file) : undefined, overlay: snapshot };
  });
}
