/**
 * The E820 memory map, as the zero page and PVH carry it.
 *
 * Source: ACPI 6.4, table 15.4 (address range types); Linux boot protocol,
 * struct boot_e820_entry, at most 128 of them (E820_MAX_ENTRIES_ZEROPAGE).
 */
import { hex } from "../base/hex.ts";
import { baseMemory } from "./bios-data.ts";
import { EBDA, ONE_MIB, PC_HOLE } from "./low-memory.ts";
import { BootError, type MemoryRange } from "./plan.ts";

const E820_MAX_ENTRIES = 128;

/** Address range types. */
const E820_TYPE = { ram: 1, reserved: 2, acpi: 3 } as const;

export interface E820Entry {
  readonly address: number;
  readonly size: number;
  readonly type: number;
}

/**
 * The map of a PC with this RAM. Reserved from the extended BIOS data area up to
 * 1 MiB, although RAM backs all of it: that area, video memory and ROMs, among
 * them the area of the ACPI tables.
 */
export function pcMemoryMap(ram: readonly { address: number; size: number }[]): MemoryRange[] {
  const map: MemoryRange[] = [];
  const base = baseMemory(ram);
  for (const { address, size } of ram) {
    const end = address + size;
    if (address < base) map.push({ address, size: Math.min(end, base) - address, type: "ram" });
    if (end > ONE_MIB) {
      const start = Math.max(address, ONE_MIB);
      map.push({ address: start, size: end - start, type: "ram" });
    }
  }
  const reserved = base === EBDA.address ? base : PC_HOLE.address;
  map.push({ address: reserved, size: ONE_MIB - reserved, type: "reserved" });
  return map.sort((a, b) => a.address - b.address);
}

/** The map in address order. @throws {BootError} if ranges overlap or there are too many for a guest. */
export function e820Entries(memory: readonly MemoryRange[]): E820Entry[] {
  if (memory.length > E820_MAX_ENTRIES) {
    throw new BootError(`memory map: ${memory.length} ranges; a guest can get at most ${E820_MAX_ENTRIES}`);
  }
  const entries = memory
    .filter((range) => range.size > 0)
    .map(({ address, size, type }) => ({ address, size, type: E820_TYPE[type] }))
    .sort((a, b) => a.address - b.address);
  for (let i = 1; i < entries.length; i++) {
    const { address, size } = entries[i - 1];
    if (address + size > entries[i].address) {
      throw new BootError(
        `memory map: the range at ${hex(entries[i].address)} overlaps the one at ${hex(address)}`,
      );
    }
  }
  return entries;
}
