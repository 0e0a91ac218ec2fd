/**
 * SMBIOS tables of a PC, for firmware that places them and adds its own table of
 * type 0.
 *
 * Source: DMTF DSP0134, SMBIOS 2.8, chapters 5 and 7; the tables are those that QEMU
 * 11.1 gives its pc machine, in their order and with its handles.
 */
import { KIB, MIB } from "../base/units.ts";
import { concat, u16, u32, u64 } from "./acpi/aml.ts";
import { checksum } from "./acpi/table.ts";

export interface SmbiosDescription {
  readonly cpus: number;
  readonly product: string;
  /** 16 bytes in the order of its digits. */
  readonly uuid: Uint8Array;
  readonly ram: readonly { readonly address: number; readonly size: number }[];
}

const VENDOR = "vmexit";

const HANDLE_SYSTEM = 0x100;
const HANDLE_CHASSIS = 0x300;
const HANDLE_PROCESSOR = 0x400;
const HANDLE_MEMORY_ARRAY = 0x1000;
const HANDLE_MEMORY_DEVICE = 0x1100;
const HANDLE_MEMORY_RANGE = 0x1300;
const HANDLE_BOOT = 0x2000;
const HANDLE_END = 0x7f00;

const NONE = 0;
const OTHER = 1;
const UNKNOWN = 2;
const SAFE = 3;
const NO_HANDLE = 0xfffe;
const UNKNOWN_WORD = 0xffff;
const POWER_SWITCH = 6;
const CENTRAL_PROCESSOR = 3;
const CPU_ENABLED_IN_SOCKET = 0x41;
const CPU_MHZ = 2000;
const SYSTEM_MEMORY = 3;
const MULTI_BIT_ECC = 6;
const DIMM = 9;
const TYPE_RAM = 7;
/** What does not fit a field of MiB or KiB is in an extended one. */
const EXTENDED_MIB = 0x7fff;
const EXTENDED_KIB = 0x8000_0000;
const END_KIB = 0xffff_ffff;

/** By name, for fw_cfg. */
export function smbiosFiles(description: SmbiosDescription): Map<string, Uint8Array> {
  const structures = [
    system(description),
    chassis(),
    processor(description.cpus),
    ...memory(description.ram),
    structure(32, HANDLE_BOOT, [zeros(6), [NONE]]),
    structure(127, HANDLE_END, []),
  ];
  const tables = concat(structures);
  const largest = Math.max(...structures.map(({ length }) => length));
  return new Map([
    ["etc/smbios/smbios-tables", tables],
    ["etc/smbios/smbios-anchor", anchor(tables.length, structures.length, largest)],
  ]);
}

function system({ product, uuid }: SmbiosDescription): Uint8Array {
  // 7.2.1: the first three fields are little-endian.
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => uuid[at]);
  const numbers = [[1, 2, NONE, NONE], order, [POWER_SWITCH, NONE, NONE]];
  return structure(1, HANDLE_SYSTEM, numbers, [VENDOR, product]);
}

function chassis(): Uint8Array {
  const states = [SAFE, SAFE, SAFE, UNKNOWN];
  const numbers = [[1, OTHER, NONE, NONE, NONE], states, u32(0), [0, 0, 0, 0, NONE]];
  return structure(3, HANDLE_CHASSIS, numbers, [VENDOR]);
}

function processor(cpus: number): Uint8Array {
  const count = Math.min(cpus, 0xff);
  const numbers = [
    [1, CENTRAL_PROCESSOR, OTHER, 2],
    zeros(8), // the id: CPUID says it
    [NONE, 0],
    ...[0, CPU_MHZ, CPU_MHZ].map(u16),
    [CPU_ENABLED_IN_SOCKET, OTHER],
    ...[UNKNOWN_WORD, UNKNOWN_WORD, UNKNOWN_WORD].map(u16), // caches
    [NONE, NONE, NONE, count, count, 1],
    ...[UNKNOWN, OTHER].map(u16),
  ];
  return structure(4, HANDLE_PROCESSOR, numbers, ["CPU 0", VENDOR]);
}

function memory(ram: SmbiosDescription["ram"]): Uint8Array[] {
  const size = ram.reduce((sum, region) => sum + region.size, 0);
  const [kib, mib] = [size / KIB, Math.floor(size / MIB)];
  const isLarge = mib >= EXTENDED_MIB;
  return [
    structure(16, HANDLE_MEMORY_ARRAY, [
      [OTHER, SYSTEM_MEMORY, MULTI_BIT_ECC],
      u32(Math.min(kib, EXTENDED_KIB)),
      ...[NO_HANDLE, 1].map(u16),
      u64(kib < EXTENDED_KIB ? 0 : size),
    ]),
    structure(
      17,
      HANDLE_MEMORY_DEVICE,
      [
        ...[HANDLE_MEMORY_ARRAY, NO_HANDLE, UNKNOWN_WORD, UNKNOWN_WORD, isLarge ? EXTENDED_MIB : mib].map(
          u16,
        ),
        [DIMM, 0, 1, NONE, TYPE_RAM],
        ...[UNKNOWN, 0].map(u16),
        [2, NONE, NONE, NONE, 0],
        u32(isLarge ? mib : 0),
        ...[0, 0, 0, 0].map(u16),
      ],
      ["DIMM 0", VENDOR],
    ),
    ...ram.map((region, n) => {
      const [first, last] = [region.address / KIB, (region.address + region.size) / KIB - 1];
      const isHigh = last >= END_KIB;
      return structure(19, HANDLE_MEMORY_RANGE + n, [
        ...[isHigh ? END_KIB : first, isHigh ? END_KIB : last].map(u32),
        u16(HANDLE_MEMORY_ARRAY),
        [1],
        u64(isHigh ? region.address : 0),
        u64(isHigh ? region.address + region.size - 1 : 0),
      ]);
    }),
  ];
}

function anchor(length: number, count: number, largest: number): Uint8Array {
  const ascii = new TextEncoder();
  const bytes = concat([
    ascii.encode("_SM_"),
    [0, 31, 2, 8],
    u16(largest),
    zeros(6),
    ascii.encode("_DMI_"),
    [0],
    u16(length),
    u32(0), // the firmware places the tables
    u16(count),
    [0x28],
  ]);
  bytes[0x15] = checksum(bytes.subarray(0x10));
  bytes[0x04] = checksum(bytes);
  return bytes;
}

/** Strings are numbered from 1. */
function structure(
  type: number,
  handle: number,
  fields: readonly (Uint8Array | readonly number[])[],
  strings: readonly string[] = [],
): Uint8Array {
  const formatted = concat(fields);
  const text = strings.length === 0 ? "\0\0" : `${strings.join("\0")}\0\0`;
  return concat([[type, 4 + formatted.length], u16(handle), formatted, new TextEncoder().encode(text)]);
}

function zeros(count: number): Uint8Array {
  return new Uint8Array(count);
}
