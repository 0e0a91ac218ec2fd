/**
 * What a PC's BIOS leaves in low memory, for kernels that are started without
 * one: the fields of the BIOS data area that say what there is, and an extended
 * BIOS data area (EBDA) that the E820 map reserves.
 *
 * Kernels use them unasked: Xen places the code that starts its other CPUs
 * below the lower of EBDA and base memory, and Linux reserves what is above it.
 *
 * Source: "System BIOS for IBM PC/XT/AT Computers and Compatibles" (Phoenix,
 * 1989), chapter 3; values as SeaBIOS 1.16 leaves them on QEMU's pc machine. Left
 * zero: what describes a keyboard's state, disks and a display.
 */
import { KIB } from "../base/units.ts";
import { BIOS_DATA, EBDA, PC_HOLE } from "./low-memory.ts";
import type { Placement } from "./plan.ts";

// Offsets in the BIOS data area.
const COM_PORTS = 0x00; // four words
const EBDA_SEGMENT = 0x0e; // a real-mode segment
const EQUIPMENT = 0x10;
const BASE_MEMORY = 0x13; // KiB

/**
 * The interrupt controllers as a BIOS leaves them on a machine without floppy drive, mouse and disk
 * controller. Unmasked are the timer, the keyboard and the cascade; the clock and the coprocessor.
 */
export const BIOS_PICS = {
  master: { irqBase: 0x08, imr: 0xf8 },
  slave: { irqBase: 0x70, imr: 0xde },
} as const;

const MAX_COM_PORTS = 4;
const EQUIPMENT_FPU = 1 << 1;
const EQUIPMENT_COM_COUNT = 9; // a shift

/** @param comPorts the first I/O port of each UART, COM1 first */
export function biosData(
  ram: readonly { readonly address: number; readonly size: number }[],
  comPorts: readonly number[],
): Placement[] {
  const data = new DataView(new ArrayBuffer(BIOS_DATA.size));
  const word = (offset: number, value: number) => data.setUint16(offset, value, true);
  const ports = comPorts.slice(0, MAX_COM_PORTS);
  ports.forEach((port, i) => {
    word(COM_PORTS + 2 * i, port);
  });
  word(EQUIPMENT, EQUIPMENT_FPU | (ports.length << EQUIPMENT_COM_COUNT));
  const base = baseMemory(ram);
  word(BASE_MEMORY, Math.floor(base / KIB));
  const area = { what: BIOS_DATA.what, address: BIOS_DATA.address, size: BIOS_DATA.size };
  const bytes = new Uint8Array(data.buffer);
  if (base < EBDA.address) return [{ ...area, data: bytes }];

  word(EBDA_SEGMENT, EBDA.address >> 4);
  const extended = new Uint8Array(EBDA.size);
  extended[0] = EBDA.size / KIB;
  return [
    { ...area, data: bytes },
    { what: EBDA.what, address: EBDA.address, size: EBDA.size, data: extended },
  ];
}

/** Bytes of RAM from 0 on that are the guest's to use; there is an EBDA behind them if RAM reaches 640 KiB. */
export function baseMemory(ram: readonly { readonly address: number; readonly size: number }[]): number {
  const first = ram.find(({ address }) => address === 0);
  const end = first === undefined ? 0 : first.size;
  return end < PC_HOLE.address ? end : EBDA.address;
}
