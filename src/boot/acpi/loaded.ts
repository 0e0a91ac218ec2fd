/**
 * ACPI tables for firmware that places them itself: one file with the tables, one
 * with the RSDP, and a script that says where to put them, which pointers to add
 * their addresses to, and which checksums to write.
 *
 * Source: QEMU hw/acpi/bios-linker-loader.c (format of the script), as SeaBIOS 1.16,
 * src/fw/romfile_loader.c, carries it out; ACPI 6.4, 5.2.5 (RSDP), 5.2.7 (RSDT).
 * The RSDP is of ACPI 1.0 and names the RSDT, which systems of every width read.
 */
import { concat, u32 } from "./aml.ts";
import type { AcpiDescription } from "./description.ts";
import { dsdt } from "./dsdt.ts";
import { DSDT, FACS_ALIGNMENT, FIRMWARE_CTRL, facs, fadt, X_DSDT } from "./fadt.ts";
import { hpetTables } from "./hpet.ts";
import { madt } from "./madt.ts";
import { CHECKSUM, HEADER_SIZE, OEM_ID, table } from "./table.ts";

const TABLES_FILE = "etc/acpi/tables";
const RSDP_FILE = "etc/acpi/rsdp";
const LOADER_FILE = "etc/table-loader";

const COMMAND_BYTES = 128;
const NAME_BYTES = 56;
const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;
const ZONE_HIGH = 1;
const ZONE_FSEG = 2;

const RSDP_BYTES = 20;
const RSDP_CHECKSUM = 8;
const RSDP_RSDT = 16;
const RSDP_ALIGNMENT = 16;

/** WAET: one read of the PM timer is enough. Interrupts of the clock have to be acknowledged, as on hardware. */
const WAET_FLAGS = 0x2;

/** By name, for fw_cfg. */
export function loadedAcpi(description: AcpiDescription): Map<string, Uint8Array> {
  const script: Uint8Array[] = [
    command(ALLOCATE, [fileName(TABLES_FILE), u32(FACS_ALIGNMENT), [ZONE_HIGH]]),
    command(ALLOCATE, [fileName(RSDP_FILE), u32(RSDP_ALIGNMENT), [ZONE_FSEG]]),
  ];
  const blocks: Uint8Array[] = [];
  let end = 0;
  const place = (bytes: Uint8Array) => {
    const at = end;
    const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
    padded.set(bytes);
    blocks.push(padded);
    end += padded.length;
    return at;
  };
  const point = (file: string, at: number, size: number) =>
    script.push(command(ADD_POINTER, [fileName(file), fileName(TABLES_FILE), u32(at), [size]]));
  const sum = (file: string, at: number, start: number, length: number) =>
    script.push(command(ADD_CHECKSUM, [fileName(file), u32(at), u32(start), u32(length)]));

  const facsAt = place(facs());
  const dsdtAt = place(dsdt(description));
  const fixed = fadt(description, facsAt, dsdtAt);
  const fadtAt = place(fixed);
  const more = [...hpetTables(description), ...(description.more ?? [])].map(place);
  const others = [fadtAt, place(madt(description)), place(table("WAET", 1, u32(WAET_FLAGS))), ...more];
  const root = table("RSDT", 1, concat(others.map(u32)));
  const rsdtAt = place(root);
  const rsdp = concat([new TextEncoder().encode(`RSD PTR \0${OEM_ID}`), [0], u32(rsdtAt)]);
  if (rsdp.length !== RSDP_BYTES) throw new RangeError("the RSDP has 20 bytes");

  // A table that is given no checksum keeps that of the numbers before pointers are added.
  point(TABLES_FILE, fadtAt + FIRMWARE_CTRL, 4);
  point(TABLES_FILE, fadtAt + DSDT, 4);
  point(TABLES_FILE, fadtAt + X_DSDT, 8);
  sum(TABLES_FILE, fadtAt + CHECKSUM, fadtAt, fixed.length);
  for (let n = 0; n < others.length; n++) point(TABLES_FILE, rsdtAt + HEADER_SIZE + 4 * n, 4);
  sum(TABLES_FILE, rsdtAt + CHECKSUM, rsdtAt, root.length);
  point(RSDP_FILE, RSDP_RSDT, 4);
  sum(RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_BYTES);
  const tables = concat(blocks);
  // The script's checksums are computed over bytes whose own place must hold zero.
  tables[fadtAt + CHECKSUM] = 0;
  tables[rsdtAt + CHECKSUM] = 0;
  return new Map([
    [TABLES_FILE, tables],
    [RSDP_FILE, rsdp],
    [LOADER_FILE, concat(script)],
  ]);
}

function command(number: number, fields: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const bytes = new Uint8Array(COMMAND_BYTES);
  bytes.set(concat([u32(number), ...fields]));
  return bytes;
}

function fileName(name: string): Uint8Array {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set(new TextEncoder().encode(name));
  return bytes;
}
