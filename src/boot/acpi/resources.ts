/**
 * Resource descriptors: what a device's _CRS says it occupies.
 *
 * Source: ACPI 6.4, 6.4 (Resource Data Types for ACPI).
 */
import { hex } from "../../base/hex.ts";
import { type Aml, buffer, concat, u16, u32 } from "./aml.ts";

const IRQ_NO_FLAGS = 0x22; // small, 2 bytes
const IO_PORT = 0x47; // small, 7 bytes
const END_TAG = 0x79; // small, 1 byte
const MEMORY_32_FIXED = 0x86; // large
const EXTENDED_INTERRUPT = 0x89; // large

const DWORD_SPACE = 0x87; // large
const WORD_SPACE = 0x88; // large

const MEMORY_RANGE = 0;
const IO_RANGE = 1;
const BUS_NUMBER_RANGE = 2;
/** The first and the last address are fixed; the bridge decodes positively. */
const FIXED_ENDS = 0x0c;
const ENTIRE_RANGE = 0x03;

const DECODE_16 = 1;
const READ_WRITE = 1;
const CONSUMER = 1 << 0;
const EDGE = 1 << 1;
const SHARED = 1 << 3;

/** `count` I/O ports from `port` on. */
export function io(port: number, count: number): Uint8Array {
  const alignment = 1;
  return concat([[IO_PORT, DECODE_16], u16(port), u16(port), [alignment, count]]);
}

/** ISA interrupt 0 to 15: edge-triggered, active high, not shared. */
export function irqNoFlags(irq: number): Uint8Array {
  if (irq < 0 || irq > 15) throw new RangeError(`${irq}: not an ISA interrupt`);
  return concat([[IRQ_NO_FLAGS], u16(1 << irq)]);
}

export function memory32Fixed(address: number, size: number): Uint8Array {
  if (address + size > 2 ** 32) throw new RangeError(`${hex(address)}: not a 32-bit address`);
  return concat([[MEMORY_32_FIXED], u16(9), [READ_WRITE], u32(address), u32(size)]);
}

/** A global system interrupt: edge-triggered, active high, not shared. */
export function edgeInterrupt(gsi: number): Uint8Array {
  return concat([[EXTENDED_INTERRUPT], u16(6), [CONSUMER | EDGE, 1], u32(gsi)]);
}

/** A global system interrupt that PCI functions share: level-triggered, active high, as the inputs of KVM's controllers are. */
export function sharedInterrupt(gsi: number): Uint8Array {
  return concat([[EXTENDED_INTERRUPT], u16(6), [CONSUMER | SHARED, 1], u32(gsi)]);
}

/** Bus numbers that a bridge passes on. */
export function busNumbers(first: number, last: number): Uint8Array {
  return wordSpace(BUS_NUMBER_RANGE, 0, first, last);
}

/** I/O ports that a bridge passes on. */
export function portRange(first: number, last: number): Uint8Array {
  return wordSpace(IO_RANGE, ENTIRE_RANGE, first, last);
}

/** Memory below 4 GiB that a bridge passes on. */
export function memoryRange(first: number, last: number): Uint8Array {
  const numbers = [0, first, last, 0, last - first + 1];
  return concat([[DWORD_SPACE], u16(23), [MEMORY_RANGE, FIXED_ENDS, READ_WRITE], ...numbers.map(u32)]);
}

function wordSpace(type: number, flags: number, first: number, last: number): Uint8Array {
  const numbers = [0, first, last, 0, last - first + 1];
  return concat([[WORD_SPACE], u16(13), [type, FIXED_ENDS, flags], ...numbers.map(u16)]);
}

export function resourceTemplate(...resources: Uint8Array[]): Aml {
  const unchecked = 0; // in place of a checksum
  return buffer(concat([...resources, [END_TAG, unchecked]]));
}
