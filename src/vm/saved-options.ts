/** The options of a machine as a snapshot keeps them: all that its guest can see. */

import { findFwCfgFile } from "../boot/fw-cfg.ts";
import { DEVICES } from "../config/devices.ts";
import { FW_CFG } from "../machine/pc-memories.ts";
import { isNbdName } from "../nbd/address.ts";
import { identify } from "../state/drive-identity.ts";
import type { MachineState } from "../state/machine-state.ts";
import type { SavedDrive, SavedOptions } from "../state/manifest.ts";
import { SnapshotError } from "../state/snapshot-error.ts";
import { driveName } from "./drives.ts";
import type { CheckedOptions } from "./validate.ts";

/** Of drives and network cards, most is of the host. */
const SAVED_DEVICES = Object.entries(DEVICES).filter(
  ([, { isMany, isSaved }]) => !isMany || isSaved === true,
);

/** Options of devices that name what the host has. */
const OF_THE_HOST = ["vhost", "vhostFd"];

/** Options besides devices. Files, handlers and policies belong to the host: whoever restores gives them anew. */
const KEPT = [
  ...["machine", "memory", "cpus", "serialPorts", "pit", "hpet", "generationId", "cpu", "topology", "numa"],
  ...["rtcOffset", "rtcSlew", "uuid", "bootOrder", "bootMenu", "bootStrict", "smbios"],
];
/** Names of files that the guest finds by fw_cfg, whose contents are in the machine's memory for fw_cfg. */
const FILES = "fwCfg";

export function savedOptions(options: CheckedOptions): SavedOptions {
  const devices = SAVED_DEVICES.flatMap(([option, { device }]): [string, object][] => {
    const config: unknown = Reflect.get(options, option);
    if (typeof config !== "object" || config === null) return [];
    const given = (each: object) => {
      const entries = Object.entries(each).filter(
        ([key]) => key in device.options && !OF_THE_HOST.includes(key),
      );
      return Object.fromEntries(entries);
    };
    if (!Array.isArray(config)) return [[option, given(config)]];
    return config.length === 0 ? [] : [[option, config.map(given)]];
  });
  const kept = KEPT.map((option): [string, unknown] => [option, Reflect.get(options, option)]);
  const files = options.fwCfg.map(({ name }) => name);
  return { ...Object.fromEntries([...devices, ...kept]), ...(files.length === 0 ? {} : { [FILES]: files }) };
}

/** What is needed of a Snapshot. */
interface OfSnapshot {
  readonly path: string;
  readonly manifest: { readonly options: SavedOptions };
  readonly state: Pick<MachineState, "memory">;
}

/**
 * What `savedOptions` kept, as createVm takes it. A snapshot may come from anywhere, so an option that names a file,
 * an interface or a port of the host must not come from it.
 *
 * @throws {SnapshotError} for an option that is not kept, or a file that the snapshot does not have
 */
export function readSavedOptions({ path, manifest, state }: OfSnapshot): Readonly<Record<string, unknown>> {
  const { [FILES]: files = [], ...options } = manifest.options;
  const known = new Set([...KEPT, ...SAVED_DEVICES.map(([option]) => option)]);
  const other = Object.keys(options).find((option) => !known.has(option));
  if (other !== undefined) {
    throw new SnapshotError(path, `machine.json: options.${other} is not kept in a snapshot: it was altered`);
  }
  for (const [option] of SAVED_DEVICES) {
    const key = OF_THE_HOST.find((each) => each in Object(options[option]));
    if (key === undefined) continue;
    throw new SnapshotError(
      path,
      `machine.json: options.${option}.${key} is not kept in a snapshot: it was altered`,
    );
  }
  const { smbios = [] } = options;
  if (!Array.isArray(smbios) || smbios.some((table) => "path" in Object(table))) {
    throw new SnapshotError(path, "machine.json: options.smbios has a path, and a snapshot has texts alone");
  }
  if (!Array.isArray(files)) throw new SnapshotError(path, `machine.json: options.${FILES} is not a list`);
  return files.length === 0 ? options : { ...options, [FILES]: files.map(savedFile) };

  function savedFile(name: unknown): object {
    const packed = state.memory(FW_CFG);
    const file = packed === undefined ? undefined : findFwCfgFile(new Uint8Array(packed), String(name));
    if (file !== undefined) return { name: String(name), file };
    throw new SnapshotError(
      path,
      `machine.json: options.${FILES} names "${name}", which is not in the snapshot`,
    );
  }
}

export function savedDrives({ drives }: CheckedOptions): SavedDrive[] {
  return drives.map((drive, n) => {
    const { file, source, snapshot } = drive;
    const isFile = source === undefined && file !== undefined && !isNbdName(file);
    return { name: driveName(drive, n), file: isFile ? identify(file) : undefined, overlay: snapshot };
  });
}
