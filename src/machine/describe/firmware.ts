/** What firmware is given of a machine: made from the descriptions of its parts. */
import type { FirmwareDescription } from "../../boot/firmware-files.ts";
import type { SmbiosFields } from "../../boot/smbios-fields.ts";
import type { Plug } from "../part.ts";
import type { MachineSpec } from "../spec.ts";
import { acpiDescription } from "./acpi.ts";

const PRODUCT = "Standard PC (i440FX + PIIX, 1996)";

/** In a boot order: nothing comes after it. Source: SeaBIOS, docs/Runtime_config.md (bootorder). */
const HALT = "HALT";

/** What the machine's owner gives firmware and guest. */
export interface OwnerFiles {
  readonly userFiles: ReadonlyMap<string, Uint8Array>;
  readonly smbios: SmbiosFields;
}

export function firmwareDescription(
  spec: MachineSpec,
  parts: readonly Plug[],
  { userFiles, smbios }: OwnerFiles,
): FirmwareDescription {
  const entries = parts.flatMap((part) => part.describe().boot ?? []);
  const ordered = entries
    .filter(({ index }) => index !== undefined)
    .sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
  const isStrict = spec.firmware?.bootStrict ?? false;
  return {
    acpi: acpiDescription(spec, parts),
    smbios: { cpus: spec.cpus, product: PRODUCT, ram: spec.ram, fields: smbios },
    ram: spec.ram,
    uuid: spec.firmware?.uuid,
    bootMenu: spec.firmware?.bootMenu ?? false,
    userFiles,
    bootOrder: [...ordered.map(({ path }) => path), ...(isStrict && ordered.length > 0 ? [HALT] : [])],
  };
}
