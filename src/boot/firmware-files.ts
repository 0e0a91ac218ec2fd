/**
 * What firmware and guests find by fw_cfg on a PC.
 *
 * Source: SeaBIOS 1.16, src/fw/paravirt.c and src/boot.c (what it reads, and what an
 * item that is missing means); observed with QEMU 11.1: files and their order.
 */
import { OptionError } from "../base/errors.ts";
import { concat, u16, u32, u64 } from "./acpi/aml.ts";
import type { AcpiDescription } from "./acpi/description.ts";
import { loadedAcpi } from "./acpi/loaded.ts";
import * as fw from "./fw-cfg.ts";
import { type SmbiosDescription, smbiosFiles } from "./smbios.ts";

export interface FirmwareDescription {
  readonly acpi: AcpiDescription;
  readonly smbios: Omit<SmbiosDescription, "uuid">;
  readonly ram: readonly { readonly address: number; readonly size: number }[];
  /** What to boot from, first choice first, as firmware names devices. */
  readonly bootOrder: readonly string[];
  /** Of the machine, in the usual form. */
  readonly uuid: string | undefined;
  /** Offer a menu. */
  readonly bootMenu: boolean;
  /** Files of the machine's owner, by name. */
  readonly userFiles: ReadonlyMap<string, Uint8Array>;
}

/** FW_CFG_ID: traditional interface and DMA. */
const HAS_DMA = 0x3;
/** There is no display: SeaBIOS prints on COM1. */
const NO_DISPLAY = 1;
/** S3 and S4 are disabled; S5 is SLP_TYP 0. A byte for each of S0 to S5. */
const SYSTEM_STATES = [0x80, 0, 0, 0x01, 0x02, 0x80];
/** Milliseconds until firmware that finds nothing to boot resets the machine: never. */
const BOOT_FAIL_WAIT = 0xffff_ffff;
const E820_RAM = 1;

export function firmwareFiles({
  acpi,
  smbios,
  ram,
  bootOrder,
  bootMenu,
  uuid,
  userFiles,
}: FirmwareDescription): fw.FwCfgItems {
  const cpus = acpi.cpus.length;
  const ramSize = ram.reduce((sum, { size }) => sum + size, 0);
  const items = new Map<number, Uint8Array>([
    [fw.FW_CFG_SIGNATURE, ascii("QEMU")],
    [fw.FW_CFG_ID, u32(HAS_DMA)],
    [fw.FW_CFG_UUID, uuidBytes(uuid)],
    [fw.FW_CFG_RAM_SIZE, u64(ramSize)],
    [fw.FW_CFG_NOGRAPHIC, u16(NO_DISPLAY)],
    [fw.FW_CFG_NB_CPUS, u16(cpus)],
    [fw.FW_CFG_BOOT_MENU, u16(bootMenu ? 1 : 0)],
    [fw.FW_CFG_MAX_CPUS, u16(Math.max(...acpi.cpus) + 1)], // local APIC ids are below it,
    [fw.FW_CFG_IRQ0_OVERRIDE, u32(acpi.pit ? 1 : 0)],
  ]);
  const files = new Map([
    ...loadedAcpi(acpi),
    ...smbiosFiles({ ...smbios, uuid: uuidBytes(uuid) }),
    ["etc/boot-fail-wait", u32(BOOT_FAIL_WAIT)] as const,
    ["etc/e820", e820(ram)] as const,
    ["etc/system-states", Uint8Array.from(SYSTEM_STATES)] as const,
  ]);
  if (bootOrder.length > 0) files.set("bootorder", ascii(`${bootOrder.join("\n")}\0`));
  for (const [name, bytes] of userFiles) {
    if (files.has(name)) throw new OptionError(`fwCfg: "${name}" is a file of the machine's own`);
    files.set(name, bytes);
  }
  return { items, files };
}

/** For a guest that is started without firmware: the files of the machine's owner alone. */
export function userFilesAlone(userFiles: ReadonlyMap<string, Uint8Array>): fw.FwCfgItems {
  const items = new Map([
    [fw.FW_CFG_SIGNATURE, ascii("QEMU")],
    [fw.FW_CFG_ID, u32(HAS_DMA)],
  ]);
  return { items, files: userFiles };
}

/** In the order of its digits; zeros without one. */
function uuidBytes(uuid: string | undefined): Uint8Array {
  const digits = (uuid ?? "").replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, n) =>
    Number.parseInt(digits.slice(2 * n, 2 * n + 2) || "0", 16),
  );
}

/** RAM. What is reserved, firmware knows. */
function e820(ram: FirmwareDescription["ram"]): Uint8Array {
  return concat(ram.map(({ address, size }) => concat([u64(address), u64(size), u32(E820_RAM)])));
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
