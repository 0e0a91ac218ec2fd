/**
 * FADT: fixed hardware, and which parts of a PC there are. And the FACS that it
 * points at, which is empty on a machine without sleep states.
 *
 * Source: ACPI 6.4, 5.2.9 (FADT, table 5.9), 5.2.10 (FACS), 5.2.3.2 (generic
 * address structure).
 *
 * The power button is fixed hardware. No GPEs, no SMI, no C states but C1.
 */
import type { AcpiDescription } from "./description.ts";
import { HEADER_SIZE, table } from "./table.ts";

const FADT_SIZE = 276;
const FADT_MAJOR = 6;
const FADT_MINOR = 4;

// Offsets from the start of the table.
export const FIRMWARE_CTRL = 36;
export const DSDT = 40;
const SCI_INT = 46;
const PM1A_EVT_BLK = 56;
const PM1A_CNT_BLK = 64;
const PM_TMR_BLK = 76;
const PM1_EVT_LEN = 88;
const PM1_CNT_LEN = 89;
const PM_TMR_LEN = 91;
const P_LVL2_LAT = 96;
const P_LVL3_LAT = 98;
const CENTURY = 108;
const IAPC_BOOT_ARCH = 109;
const FLAGS = 112;
const GAS_RESET_REG = 116;
const RESET_VALUE = 128;
const FADT_MINOR_VERSION = 131;
export const X_DSDT = 140;
const X_PM1A_EVT_BLK = 148;
const X_PM1A_CNT_BLK = 172;
const X_PM_TMR_BLK = 208;
const HYPERVISOR_VENDOR = 268;

// IAPC_BOOT_ARCH
const LEGACY_DEVICES = 1 << 0;
const HAS_8042 = 1 << 1;
const VGA_NOT_PRESENT = 1 << 2;
const CMOS_RTC_NOT_PRESENT = 1 << 5;

// FLAGS
const WBINVD = 1 << 0;
const PROC_C1 = 1 << 2;
const SLP_BUTTON = 1 << 5; // not fixed hardware, and there is no device for it
const FIX_RTC = 1 << 6; // the clock's wake status is not in fixed hardware
const TMR_VAL_EXT = 1 << 8;
const RESET_REG_SUP = 1 << 10;

/** Latencies above 100 and 1000 us mean that there is no C2 and no C3. */
const NO_C_STATE = 0xffff;

const SYSTEM_IO = 1;
const BYTE_ACCESS = 1;
const WORD_ACCESS = 2;
const DWORD_ACCESS = 3;

const FACS_SIZE = 64;
const FACS_VERSION = 2;

export const FACS_ALIGNMENT = 64;

export function fadt(description: AcpiDescription, facsAddress: number, dsdtAddress: number): Uint8Array {
  const { pm } = description;
  const bytes = new Uint8Array(FADT_SIZE);
  const data = new DataView(bytes.buffer);
  const block = (offset: number, xOffset: number, port: number, length: number, access: number) => {
    data.setUint32(offset, port, true);
    putGas(data, xOffset, port, length * 8, access);
  };

  // X_FIRMWARE_CTRL stays zero: with both, Linux assumes two tables.
  data.setUint32(FIRMWARE_CTRL, facsAddress, true);
  data.setUint32(DSDT, dsdtAddress, true);
  data.setBigUint64(X_DSDT, BigInt(dsdtAddress), true);

  data.setUint16(SCI_INT, pm.sciIrq, true);
  data.setUint8(PM1_EVT_LEN, 4);
  block(PM1A_EVT_BLK, X_PM1A_EVT_BLK, pm.eventPort, 4, WORD_ACCESS);
  data.setUint8(PM1_CNT_LEN, 2);
  block(PM1A_CNT_BLK, X_PM1A_CNT_BLK, pm.controlPort, 2, WORD_ACCESS);
  let flags = WBINVD | PROC_C1 | SLP_BUTTON | FIX_RTC | RESET_REG_SUP;
  if (pm.timerPort !== undefined) {
    data.setUint8(PM_TMR_LEN, 4);
    block(PM_TMR_BLK, X_PM_TMR_BLK, pm.timerPort, 4, DWORD_ACCESS);
    flags |= TMR_VAL_EXT;
  }
  data.setUint16(P_LVL2_LAT, NO_C_STATE, true);
  data.setUint16(P_LVL3_LAT, NO_C_STATE, true);

  data.setUint8(CENTURY, description.rtc?.century ?? 0); // 0: the clock has no century register
  data.setUint16(IAPC_BOOT_ARCH, bootArchitecture(description), true);
  data.setUint32(FLAGS, flags, true);
  putGas(data, GAS_RESET_REG, pm.resetPort, 8, BYTE_ACCESS);
  data.setUint8(RESET_VALUE, pm.resetValue);
  data.setUint8(FADT_MINOR_VERSION, FADT_MINOR);
  bytes.set(new TextEncoder().encode("KVM"), HYPERVISOR_VENDOR);
  return table("FACP", FADT_MAJOR, bytes.subarray(HEADER_SIZE));
}

function bootArchitecture({ serial, rtc, i8042 }: AcpiDescription): number {
  let flags = VGA_NOT_PRESENT;
  if (serial.length > 0 || i8042) flags |= LEGACY_DEVICES;
  if (i8042) flags |= HAS_8042;
  if (rtc === undefined) flags |= CMOS_RTC_NOT_PRESENT;
  return flags;
}

/** Generic address structure: space, bits, bit offset, access size, u64 address. */
function putGas(data: DataView, offset: number, port: number, bits: number, access: number): void {
  data.setUint8(offset, SYSTEM_IO);
  data.setUint8(offset + 1, bits);
  data.setUint8(offset + 3, access);
  data.setBigUint64(offset + 4, BigInt(port), true);
}

export function facs(): Uint8Array {
  const bytes = new Uint8Array(FACS_SIZE);
  const data = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("FACS"));
  data.setUint32(4, FACS_SIZE, true);
  data.setUint8(32, FACS_VERSION);
  return bytes;
}
