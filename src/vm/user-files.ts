/** What the owner of a PC gives firmware and guest besides: files by fw_cfg, and fields of SMBIOS tables. */
import { readFileSync } from "node:fs";
import { OptionError } from "../base/errors.ts";
import { MIB, PAGE } from "../base/units.ts";
import { userFilesAlone } from "../boot/firmware-files.ts";
import { type FwCfgItems, NAME_BYTES, packFwCfg } from "../boot/fw-cfg.ts";
import { SmbiosFields } from "../boot/smbios-fields.ts";
import type { SmbiosTable } from "../config/machine.ts";
import type { OwnerFiles } from "../machine/describe/firmware.ts";
import { FW_CFG } from "../machine/pc-memories.ts";
import type { Hardware } from "./hardware.ts";
import type { PowerOn } from "./power-on.ts";
import type { CheckedOptions } from "./validate.ts";

/** Of all files together. */
const MOST_BYTES = 512 * MIB;
/** The type of the SMBIOS table whose strings may be in files. */
const OEM_STRINGS = 11;
/** For a file's entries in the index and the directory. */
const ENTRY_BYTES = 128;

/** The options with the contents of files in place of their names: each file is read once. @throws {OptionError} */
export function readUserFiles({ fwCfg, smbios }: CheckedOptions): Pick<CheckedOptions, "fwCfg" | "smbios"> {
  return {
    fwCfg: fwCfg.map((given, n) => {
      return typeof given.file === "string"
        ? { ...given, file: read(given.file, `fwCfg[${n}].file`) }
        : given;
    }),
    smbios: smbios.flatMap((table) =>
      Number(Object(table).type) === OEM_STRINGS ? oemTables(table) : [table],
    ),
  };
}

/** A table for each field, in their order. */
function oemTables({ type, ...fields }: SmbiosTable): SmbiosTable[] {
  return Object.entries(fields).map(([name, given]) => {
    if (name !== "path") return { type, [name]: given };
    const paths = Array.isArray(given) ? given : [given];
    return { type, value: paths.map((path) => read(String(path), "smbios").toString("utf8")) };
  });
}

/** @param options as `readUserFiles` returns them @throws {OptionError} */
export function ownerFiles({ fwCfg, smbios }: CheckedOptions): OwnerFiles {
  const userFiles = new Map<string, Uint8Array>();
  fwCfg.forEach(({ name, file, string }, n) => {
    const where = `fwCfg[${n}]`;
    if (name === "" || name.length >= NAME_BYTES) {
      throw new OptionError(`${where}.name: "${name}" does not have 1 to ${NAME_BYTES - 1} characters`);
    }
    if (userFiles.has(name)) throw new OptionError(`${where}.name: there are two files "${name}"`);
    if ((file === undefined) === (string === undefined)) {
      throw new OptionError(`${where}: give either file or string`);
    }
    userFiles.set(name, typeof file === "object" ? file : new TextEncoder().encode(string));
  });
  if (bytesOf(userFiles) > MOST_BYTES) throw new OptionError(`fwCfg: the files have more than 512 MiB`);
  return { userFiles, smbios: new SmbiosFields(smbios) };
}

/** The room that fw_cfg needs for them. */
export function bytesOf(files: ReadonlyMap<string, Uint8Array>): number {
  let bytes = 0;
  for (const { length } of files.values()) bytes += length + ENTRY_BYTES;
  return Math.ceil(bytes / PAGE) * PAGE;
}

/** The same start, with files that the guest finds by fw_cfg although there is no firmware. */
export function withUserFiles(start: PowerOn, options: CheckedOptions): PowerOn {
  const { userFiles } = ownerFiles(options);
  return {
    ...start,
    userFilesBytes: bytesOf(userFiles) + PAGE,
    origin(note) {
      const origin = start.origin(note);
      return {
        load: (hardware, machine) => origin.load?.(hardware, machine),
        fill(hardware, machine) {
          putFwCfg(hardware, userFilesAlone(userFiles));
          return origin.fill(hardware, machine);
        },
      };
    },
  };
}

/** @throws {RangeError} if there is less room than the machine's spec has for it */
export function putFwCfg({ memories }: Hardware, contents: FwCfgItems): void {
  const memory = memories.get(FW_CFG);
  if (memory === undefined) throw new RangeError("the machine has no memory for fw_cfg");
  new Uint8Array(memory.map(0, memory.size)).set(packFwCfg(contents));
}

function read(path: string, where: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw error instanceof Error ? new OptionError(`${where}: ${error.message}`) : error;
  }
}
