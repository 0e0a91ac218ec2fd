/** The ROM that prints what a PC has (pc-dump.c), and its output as values by name. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { buildKernel } from "./multiboot-build.ts";

const ROM_BYTES = 128 * 1024;
/** Where a ROM of that size begins. */
const ROM = 0xfffe_0000;
/** Of the last segment, f000. */
const SEGMENT = ROM_BYTES - 0x1_0000;
const ENTRY = 0xff80;
const GDT_POINTER = 0xffc0;
const GDT = 0xffc8;
const RESET = 0xfff0;
const CODE = 0x08;

const word = (value: number) => [value & 0xff, (value >> 8) & 0xff];
const dword = (value: number) => [...word(value), ...word(value >>> 16)];

/** @param path where files may be made */
export function dumpRom(path: string): Uint8Array {
  buildKernel("pc-dump.c", path, `-Wl,-Ttext=0x${ROM.toString(16)}`);
  const binary = `${path}.bin`;
  execFileSync("objcopy", ["-O", "binary", "-j", ".text", "-j", ".rodata*", path, binary]);
  const rom = new Uint8Array(ROM_BYTES);
  const code = readFileSync(binary);
  if (code.length > SEGMENT) throw new Error("the code does not fit below the last segment");
  rom.set(code);
  rom.set(
    [
      0xfa, // cli
      ...[0x2e, 0x66, 0x0f, 0x01, 0x16, ...word(GDT_POINTER)], // lgdtl cs:[GDT_POINTER]
      ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // cr0 |= PE
      ...[0x66, 0xea, ...dword(ROM), ...word(CODE)], // jmp CODE:ROM
    ],
    SEGMENT + ENTRY,
  );
  rom.set([...word(23), ...dword(0xffff_0000 + GDT)], SEGMENT + GDT_POINTER);
  const flat = (access: number) => [0xff, 0xff, 0, 0, 0, access, 0xcf, 0];
  rom.set([...dword(0), ...dword(0), ...flat(0x9b), ...flat(0x93)], SEGMENT + GDT);
  rom.set([0xeb, (ENTRY - RESET - 2) & 0xff], SEGMENT + RESET); // jmp short ENTRY
  return rom;
}

/** Lines "NAME = VALUE". */
export function valuesOf(text: string): Map<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line.includes(" = "));
  return new Map(lines.map((line) => line.split(" = ")).map(([name, value]) => [name, value]));
}

/** Contents of the files that were printed, by name. */
function filesOf(values: ReadonlyMap<string, string>): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const [name, value] of values) {
    const [kind, file] = name.split(" ");
    if (kind !== "data") continue;
    files.set(file, Buffer.concat([files.get(file) ?? Buffer.alloc(0), Buffer.from(value, "hex")]));
  }
  return files;
}

/**
 * The values of a dump, with ACPI and SMBIOS tables decoded instead of their bytes.
 * @param decode gives the fields of an ACPI table, as iasl names them
 */
export function decoded(
  text: string,
  decode: (table: Uint8Array) => ReadonlyMap<string, string>,
): Map<string, string> {
  const raw = valuesOf(text);
  const files = filesOf(raw);
  const values = new Map(
    [...raw].filter(
      ([name]) => !/^((data|file) etc\/(acpi|smbios|table)|cpuid (00000001|80000001).* e[cd]x)/.test(name),
    ),
  );
  for (const table of acpiTables(files.get("etc/acpi/tables") ?? Buffer.alloc(0))) {
    const signature = table.toString("latin1", 0, 4);
    values.set(`acpi ${signature}`, "present");
    for (const [field, value] of decode(table)) values.set(`acpi ${signature} ${field}`, value);
  }
  for (const [field, value] of smbios(files.get("etc/smbios/smbios-tables") ?? Buffer.alloc(0)))
    values.set(`smbios ${field}`, value);
  return values;
}

/** Tables of one file. Between them is room for alignment. */
function acpiTables(file: Buffer): Buffer[] {
  const tables: Buffer[] = [];
  for (let at = 0; at + 8 <= file.length; ) {
    const signature = file.toString("latin1", at, at + 4);
    const length = file.readUInt32LE(at + 4);
    if (!/^[A-Z]{4}$/.test(signature) || length < 36 || at + length > file.length) at++;
    else {
      tables.push(file.subarray(at, at + length));
      at += length;
    }
  }
  return tables;
}

/** SMBIOS 2.8, 6.1.2: structures with their strings behind them. */
function* smbios(tables: Buffer): Generator<[string, string]> {
  for (let at = 0; at + 4 <= tables.length; ) {
    const [type, length] = tables.subarray(at, at + 2);
    const end = tables.indexOf("\0\0", at + length, "latin1");
    const strings = tables
      .toString("latin1", at + length, end)
      .split("\0")
      .filter(Boolean);
    yield [`type ${type} formatted`, tables.toString("hex", at + 4, at + length)];
    yield [`type ${type} strings`, strings.join(", ")];
    at = end + 2;
  }
}
