/**
 * What a unit says of itself: INQUIRY and its vital product data.
 *
 * Source: SPC-4 (T10/1731-D), 6.4 and 7.8; SBC-3 (T10/1799-D), 6.6 (pages b0, b1 and b2).
 */
import { SECTOR } from "../base/units.ts";
import { put16, put32, put64, putText } from "./commands.ts";

export const TYPE_DISK = 0x00;
export const TYPE_CD = 0x05;

export interface UnitIdentity {
  readonly type: number;
  /** Its first word is the vendor's name. */
  readonly model: string;
  /** At most 20 characters of ASCII. */
  readonly serial: string;
  /** Bytes that the host's storage writes as a unit. */
  readonly blockSize: number;
  readonly readOnly: boolean;
}

const SPC_3 = 5;
const RESPONSE_FORMAT = 2;
const REMOVABLE_MEDIUM = 0x80;
const QUEUES_COMMANDS = 0x02;
const STANDARD_BYTES = 36;

const PAGE_SUPPORTED = 0x00;
const PAGE_SERIAL = 0x80;
const PAGE_IDENTIFICATION = 0x83;
const PAGE_LIMITS = 0xb0;
const PAGE_CHARACTERISTICS = 0xb1;
const PAGE_PROVISIONING = 0xb2;
const PAGES = [PAGE_SUPPORTED, PAGE_SERIAL, PAGE_IDENTIFICATION];
const DISK_PAGES = [...PAGES, PAGE_LIMITS, PAGE_CHARACTERISTICS, PAGE_PROVISIONING];

/** Bytes that one command may free, and make zero: see virtio-blk, whose limits these are. */
export const FREE_MAX = 2 ** 31;
export const ZERO_MAX = 2 ** 24;
/** Ranges of one UNMAP. */
export const FREE_RANGES_MAX = 32;

/** @returns how many bytes it wrote, or -1 if there is no such page */
export function answerInquiry(unit: UnitIdentity, cdb: Uint8Array, buffer: Uint8Array): number {
  if ((cdb[1] & 1) !== 0) return vitalData(unit, cdb[2], buffer);
  if (cdb[2] !== 0) return -1;
  const { vendor, product } = names(unit);
  buffer.fill(0, 0, STANDARD_BYTES);
  buffer[0] = unit.type;
  buffer[1] = unit.type === TYPE_CD ? REMOVABLE_MEDIUM : 0;
  buffer[2] = SPC_3;
  buffer[3] = RESPONSE_FORMAT;
  buffer[4] = STANDARD_BYTES - 5;
  buffer[7] = QUEUES_COMMANDS;
  putText(buffer, 8, 8, vendor);
  putText(buffer, 16, 16, product);
  putText(buffer, 32, 4, "1.0");
  return STANDARD_BYTES;
}

function vitalData(unit: UnitIdentity, page: number, buffer: Uint8Array): number {
  const { type, serial } = unit;
  const pages = type === TYPE_DISK ? DISK_PAGES : PAGES;
  if (!pages.includes(page)) return -1;
  buffer.fill(0, 0, 4 + 60);
  buffer[0] = type;
  buffer[1] = page;
  const length = bodyOf(page);
  put16(buffer, 2, length);
  return 4 + length;

  function bodyOf(page: number): number {
    switch (page) {
      case PAGE_SUPPORTED:
        buffer.set(pages, 4);
        return pages.length;
      case PAGE_SERIAL:
        putText(buffer, 4, serial.length, serial);
        return serial.length;
      case PAGE_IDENTIFICATION:
        return identification(unit, buffer);
      case PAGE_LIMITS:
        return limits(unit, buffer);
      case PAGE_CHARACTERISTICS:
        put16(buffer, 4, 1); // it does not rotate
        return 60;
      default:
        if (!unit.readOnly) {
          buffer[5] = 0xe0; // UNMAP, and WRITE SAME of both lengths that frees storage
          buffer[6] = 2; // storage is allocated when it is written
        }
        return 4;
    }
  }
}

/** A name that no other disk has: vendor, product and serial number. */
function identification(unit: UnitIdentity, buffer: Uint8Array): number {
  const { vendor, product } = names(unit);
  const length = 8 + 16 + unit.serial.length;
  buffer[4] = 2; // ASCII
  buffer[5] = 1; // begins with a vendor's name
  buffer[7] = length;
  putText(buffer, 8, 8, vendor);
  putText(buffer, 16, 16, product);
  putText(buffer, 32, unit.serial.length, unit.serial);
  return 4 + length;
}

function limits({ blockSize, readOnly }: UnitIdentity, buffer: Uint8Array): number {
  const granularity = blockSize / SECTOR;
  put16(buffer, 6, granularity); // optimal transfers are multiples of it
  if (!readOnly) {
    put32(buffer, 20, FREE_MAX / SECTOR);
    put32(buffer, 24, FREE_RANGES_MAX);
    put32(buffer, 28, granularity);
    put32(buffer, 32, 0x8000_0000); // aligned to 0
    put64(buffer, 36, ZERO_MAX / SECTOR);
  }
  return 60;
}

function names({ model }: UnitIdentity): { vendor: string; product: string } {
  const space = model.indexOf(" ");
  if (space < 0) return { vendor: model, product: model };
  return { vendor: model.slice(0, space), product: model.slice(space + 1) };
}
