/** Makes the ACPI description of a machine from the descriptions of its parts. */
import type { AcpiDescription } from "../../boot/acpi/description.ts";
import { IOAPIC, LOCAL_APIC } from "../memory-map.ts";
import type { Plug } from "../part.ts";
import type { MachineSpec } from "../spec.ts";
import { placeOf, topologyOf } from "../topology.ts";
import type { Description } from "./description.ts";

/** @param parts in the order in which a guest numbers them @throws {RangeError} if none is a power management block */
export function acpiDescription(spec: MachineSpec, parts: readonly Plug[]): AcpiDescription {
  const described = parts.map((part) => part.describe());
  const all = <K extends keyof Description>(key: K) =>
    described.map((each) => each[key]).filter((value) => value !== undefined);
  const [pm] = all("pm");
  if (pm === undefined) throw new RangeError(`the board ${spec.board} has nothing that ACPI can switch off`);
  const [rtc] = all("rtc");
  const topology = topologyOf(spec);
  const [pci] = all("pci");
  const [fwCfg] = all("fwCfg");
  const [hpet] = all("hpet");
  return {
    cpus: Array.from({ length: spec.cpus }, (_, index) => placeOf(topology, index).apicId),
    ioapicAddress: IOAPIC,
    localApicAddress: LOCAL_APIC,
    serial: all("serial"),
    virtioMmio: all("virtioMmio"),
    pm,
    ...(pci === undefined ? {} : { pci }),
    ...(rtc === undefined ? {} : { rtc }),
    ...(fwCfg === undefined ? {} : { fwCfg }),
    ...(hpet === undefined ? {} : { hpet }),
    pit: spec.pit,
  };
}
