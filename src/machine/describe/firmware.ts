/** What firmware is given of a machine: made from the descriptions of its parts. */
import type { FirmwareDescription } from "../../boot/firmware-files.ts";
import type { Plug } from "../part.ts";
import type { MachineSpec } from "../spec.ts";
import { acpiDescription } from "./acpi.ts";

const PRODUCT = "Standard PC (i440FX + PIIX, 1996)";

export function firmwareDescription(spec: MachineSpec, parts: readonly Plug[]): FirmwareDescription {
  const entries = parts.flatMap((part) => part.describe().boot ?? []);
  const ordered = entries
    .filter(({ index }) => index !== undefined)
    .sort((a, b) => (a.index ?? 0) - (b.index ?? 0));
  return {
    acpi: acpiDescription(spec, parts),
    smbios: { cpus: spec.cpus, product: PRODUCT, ram: spec.ram },
    ram: spec.ram,
    uuid: spec.firmware?.uuid,
    bootMenu: spec.firmware?.bootMenu ?? false,
    bootOrder: ordered.map(({ path }) => path),
  };
}
