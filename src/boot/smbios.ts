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
import { SmbiosFields } from "./smbios-fields.ts";

export interface SmbiosDescription {
  readonly cpus: number;
  readonly product: string;
  /** 16 bytes in the order of its digits. */
  readonly uuid: Uint8Array;
  readonly ram: readonly { readonly address: number; readonly size: number }[];
  /** What the machine's owner has set. */
  readonly fields?: SmbiosFields;
}

const VENDOR = "vmexit";

const HANDLE_BIOS = 0;
const HANDLE_SYSTEM = 0x100;
const HANDLE_BASEBOARD = 0x200;
const HANDLE_CHASSIS = 0x300;
const HANDLE_PROCESSOR = 0x400;
const HANDLE_OEM_STRINGS = 0xe00;
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
const BIOS_SEGMENT = 0xe800;
const CHARACTERISTICS_UNKNOWN = 0x08;
/** The second extension byte: a virtual machine, with targeted content distribution; started by UEFI. */
const VIRTUAL_MACHINE = 0x14;
const UEFI = 0x08;
const HOSTING_BOARD = 1;
const MOTHERBOARD = 0x0a;
/** The family is in the field of two bytes. */
const FAMILY_2 = 0xfe;
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
  const { fields = new SmbiosFields() } = description;
  const structures = [
    ...(fields.has(0) ? [bios(fields)] : []),
    system(description, fields),
    ...(fields.has(2) ? [baseboard(description, fields)] : []),
    chassis(fields),
    processor(description.cpus, fields),
    ...(fields.oemStrings.length > 0 ? [oemStrings(fields)] : []),
    ...memory(description.ram, fields),
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

/** In place of the one that firmware adds by itself. */
function bios(fields: SmbiosFields): Uint8Array {
  const strings = new Strings();
  const field = (name: string) => strings.add(fields.text(0, name));
  const [major, minor] = (fields.text(0, "release") ?? "0.0").split(".").map(Number);
  const [vendor, version] = [field("vendor"), field("version")];
  return structure(
    0,
    HANDLE_BIOS,
    [
      [vendor, version],
      u16(BIOS_SEGMENT),
      [field("date"), 0],
      u64(CHARACTERISTICS_UNKNOWN),
      [0, VIRTUAL_MACHINE | (fields.flag(0, "uefi") ? UEFI : 0)],
      [major, minor, 0xff, 0xff],
    ],
    strings.texts,
  );
}

function system({ product, uuid }: SmbiosDescription, fields: SmbiosFields): Uint8Array {
  // 7.2.1: the first three fields are little-endian.
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => uuid[at]);
  const strings = new Strings();
  const field = (name: string, otherwise?: string) => strings.add(fields.text(1, name) ?? otherwise);
  const names = [field("manufacturer", VENDOR), field("product", product), field("version"), field("serial")];
  const numbers = [names, order, [POWER_SWITCH, field("sku"), field("family")]];
  return structure(1, HANDLE_SYSTEM, numbers, strings.texts);
}

function baseboard({ product }: SmbiosDescription, fields: SmbiosFields): Uint8Array {
  const strings = new Strings();
  const field = (name: string, otherwise?: string) => strings.add(fields.text(2, name) ?? otherwise);
  const names = [field("manufacturer", VENDOR), field("product", product), field("version"), field("serial")];
  const place = [field("asset"), HOSTING_BOARD, field("location")];
  const numbers = [names, place, u16(HANDLE_CHASSIS), [MOTHERBOARD, 0]];
  return structure(2, HANDLE_BASEBOARD, numbers, strings.texts);
}

function chassis(fields: SmbiosFields): Uint8Array {
  const states = [SAFE, SAFE, SAFE, UNKNOWN];
  const strings = new Strings();
  const field = (name: string, otherwise?: string) => strings.add(fields.text(3, name) ?? otherwise);
  const manufacturer = field("manufacturer", VENDOR);
  const names = [manufacturer, OTHER, field("version"), field("serial"), field("asset")];
  const numbers = [names, states, u32(0), [0, 0, 0, 0, field("sku")]];
  return structure(3, HANDLE_CHASSIS, numbers, strings.texts);
}

function processor(cpus: number, fields: SmbiosFields): Uint8Array {
  const count = Math.min(cpus, 0xff);
  const strings = new Strings();
  const field = (name: string, otherwise?: string) => strings.add(fields.text(4, name) ?? otherwise);
  const family = fields.number(4, "processor-family");
  const socket = strings.add(`${fields.text(4, "sock_pfx") ?? "CPU"} 0`);
  const speed = (name: string) => u16(fields.number(4, name) ?? CPU_MHZ);
  const numbers = [
    [socket, CENTRAL_PROCESSOR, family === undefined ? OTHER : FAMILY_2, field("manufacturer", VENDOR)],
    idBytes(fields.text(4, "processor-id")),
    [field("version"), 0],
    ...[u16(0), speed("max-speed"), speed("current-speed")],
    [CPU_ENABLED_IN_SOCKET, OTHER],
    ...[UNKNOWN_WORD, UNKNOWN_WORD, UNKNOWN_WORD].map(u16), // caches
    [field("serial"), field("asset"), field("part"), count, count, count],
    ...[UNKNOWN, family ?? OTHER].map(u16),
  ];
  return structure(4, HANDLE_PROCESSOR, numbers, strings.texts);
}

/** Zeros where nothing is given: CPUID says it. */
function idBytes(id = "0"): Uint8Array {
  const bytes = zeros(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(id), true);
  return bytes;
}

function oemStrings({ oemStrings: texts }: SmbiosFields): Uint8Array {
  return structure(11, HANDLE_OEM_STRINGS, [[texts.length]], texts);
}

function memory(ram: SmbiosDescription["ram"], fields: SmbiosFields): Uint8Array[] {
  const strings = new Strings();
  const field = (name: string, otherwise?: string) => strings.add(fields.text(17, name) ?? otherwise);
  const locator = strings.add(`${fields.text(17, "loc_pfx") ?? "DIMM"} 0`);
  const speed = fields.number(17, "speed") ?? 0;
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
        [DIMM, 0, locator, field("bank"), TYPE_RAM],
        ...[UNKNOWN, speed].map(u16),
        [field("manufacturer", VENDOR), field("serial"), field("asset"), field("part"), 0],
        u32(isLarge ? mib : 0),
        ...[speed, 0, 0, 0].map(u16),
      ],
      strings.texts,
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

/** Strings of a structure, numbered from 1. */
class Strings {
  readonly texts: string[] = [];

  /** The number of `text`; 0 if there is none. */
  add(text: string | undefined): number {
    return text === undefined || text === "" ? NONE : this.texts.push(text);
  }
}

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
