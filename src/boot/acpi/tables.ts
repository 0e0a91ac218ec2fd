/**
 * All ACPI tables of a machine, one behind the other.
 *
 * Source: ACPI 6.4, 5.2.5 (RSDP), 5.2.8 (XSDT). The RSDP comes first: kernels
 * without its address search for it on every 16th byte of the BIOS area.
 * There is no RSDT; every 64-bit system reads the XSDT.
 */
import { hex } from "../../base/hex.ts";
import type { Placement } from "../plan.ts";
import { concat, u32, u64 } from "./aml.ts";
import type { AcpiDescription } from "./description.ts";
import { dsdt } from "./dsdt.ts";
import { FACS_ALIGNMENT, facs, fadt } from "./fadt.ts";
import { hpetTables } from "./hpet.ts";
import { madt } from "./madt.ts";
import { checksum, OEM_ID, table } from "./table.ts";

export type { AcpiDescription, GenerationIdPlace } from "./description.ts";

const RSDP_SIZE = 36;
const RSDP_V1_SIZE = 20; // what the first checksum covers
const RSDP_ALIGNMENT = 16;
const CHECKSUM = 8;
const EXTENDED_CHECKSUM = 32;

/** A BIOS area that begins below this ends there. */
const BIOS_AREA_END = 0x10_0000;

/**
 * @param at guest-physical address of the first table, a multiple of 16 below 4 GiB
 * @returns the tables and the address of the RSDP.
 */
export function buildAcpi(
  description: AcpiDescription,
  at: number,
): { placements: Placement[]; rsdp: number } {
  if (at % RSDP_ALIGNMENT !== 0) throw new RangeError(`ACPI tables at ${hex(at)}: not a multiple of 16`);
  const placements: Placement[] = [];
  let end = at + RSDP_SIZE;
  const place = (what: string, data: Uint8Array, alignment = 8) => {
    const address = Math.ceil(end / alignment) * alignment;
    placements.push({ what: `ACPI ${what}`, address, size: data.length, data });
    end = address + data.length;
    return address;
  };

  const facsAddress = place("FACS", facs(), FACS_ALIGNMENT);
  const dsdtAddress = place("DSDT", dsdt(description));
  const fadtAddress = place("FADT", fadt(description, facsAddress, dsdtAddress));
  const madtAddress = place("MADT", madt(description));
  const more = [...hpetTables(description), ...(description.more ?? [])].map((bytes) =>
    place(signatureOf(bytes), bytes),
  );
  const xsdtAddress = place("XSDT", xsdt([fadtAddress, madtAddress, ...more]));
  placements.unshift({ what: "ACPI RSDP", address: at, size: RSDP_SIZE, data: rsdp(xsdtAddress) });
  if (at < BIOS_AREA_END && end > BIOS_AREA_END) {
    throw new RangeError(`ACPI tables from ${hex(at)} on end at ${hex(end)}, above 1 MiB`);
  }
  return { placements, rsdp: at };
}

function signatureOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, 4));
}

function xsdt(addresses: readonly number[]): Uint8Array {
  return table("XSDT", 1, concat(addresses.map(u64)));
}

function rsdp(xsdtAddress: number): Uint8Array {
  const revision = 2;
  const bytes = concat([
    new TextEncoder().encode(`RSD PTR \0${OEM_ID}`),
    [revision],
    u32(0), // no RSDT
    u32(RSDP_SIZE),
    u64(xsdtAddress),
    [0, 0, 0, 0],
  ]);
  bytes[CHECKSUM] = checksum(bytes.subarray(0, RSDP_V1_SIZE));
  bytes[EXTENDED_CHECKSUM] = checksum(bytes);
  return bytes;
}
