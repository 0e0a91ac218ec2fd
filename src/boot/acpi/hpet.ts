/**
 * HPET: where the high precision event timer is.
 *
 * Source: Intel, "IA-PC HPET Specification" 1.0a, 3.2.4.
 */
import { concat, u16, u32, u64 } from "./aml.ts";
import type { AcpiDescription } from "./description.ts";
import { table } from "./table.ts";

/** What its first register holds: see devices/hpet.ts. */
const BLOCK_ID = 0x8086_a201;
const SYSTEM_MEMORY = 0;
/** Ticks between periodic interrupts: no limit is known. */
const SHORTEST_PERIOD = 0;
const NO_PAGE_PROTECTION = 0;

/** The table of a machine that has one. */
export function hpetTables({ hpet }: AcpiDescription): Uint8Array[] {
  if (hpet === undefined) return [];
  const place = [[SYSTEM_MEMORY, 0, 0, 0], u64(hpet.address)];
  const number = 0;
  const body = concat([u32(BLOCK_ID), ...place, [number], u16(SHORTEST_PERIOD), [NO_PAGE_PROTECTION]]);
  return [table("HPET", 1, body)];
}
