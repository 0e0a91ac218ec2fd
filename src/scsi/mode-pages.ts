/**
 * The mode pages of a disk.
 *
 * Source: SPC-4 (T10/1731-D), 6.11, 6.13 and 7.5; SBC-3, 6.4 (the caching page); SCSI-2, 9.3.3.7 (the geometry
 * page, of which BIOSes read the number of heads).
 */
import { SECTOR } from "../base/units.ts";
import { put16, put32 } from "./commands.ts";

const PAGE_GEOMETRY = 0x04;
const PAGE_CACHING = 0x08;
const PAGE_CONTROL = 0x0a;
const PAGE_ALL = 0x3f;

const WRITE_PROTECTED = 0x80;
const DPO_AND_FUA = 0x10;
const WRITE_CACHE_ENABLED = 0x04;
const QUEUE_ALGORITHM_UNRESTRICTED = 0x10;
const HEADS = 255;
const SECTORS_PER_TRACK = 63;

/** Which values are wanted. */
const CHANGEABLE = 1;
const SAVED = 3;
/** In place of a number of bytes. */
export const NO_SUCH_PAGE = -1;
export const NOT_SAVED = -2;

export interface DiskModes {
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly writeCache: boolean;
  /** The driver may change it. */
  readonly mayChangeCache: boolean;
}

/** MODE SENSE. @returns how many bytes it wrote */
export function putModePages(buffer: Uint8Array, cdb: Uint8Array, disk: DiskModes, isLong: boolean): number {
  const page = cdb[2] & 0x3f;
  const which = cdb[2] >> 6;
  if (which === SAVED) return NOT_SAVED;
  if (cdb[3] !== 0 && cdb[3] !== 0xff) return NO_SUCH_PAGE; // subpages
  const header = isLong ? 8 : 4;
  const descriptor = (cdb[1] & 8) === 0 ? 8 : 0;
  buffer.fill(0, 0, 128);
  if (descriptor > 0) {
    put32(buffer, header, Math.min(disk.sectors, 0xffff_ffff));
    put32(buffer, header + 4, SECTOR);
    buffer[header + 4] = 0;
  }
  let length = header + descriptor;
  const before = length;
  if (page === PAGE_GEOMETRY || page === PAGE_ALL) length += geometry(buffer, length, disk, which);
  if (page === PAGE_CACHING || page === PAGE_ALL) length += caching(buffer, length, disk, which);
  if (page === PAGE_CONTROL || page === PAGE_ALL) length += control(buffer, length, which);
  if (length === before) return NO_SUCH_PAGE;
  const flags = DPO_AND_FUA | (disk.readOnly ? WRITE_PROTECTED : 0);
  if (isLong) {
    put16(buffer, 0, length - 2);
    buffer[3] = flags;
    put16(buffer, 6, descriptor);
  } else {
    buffer[0] = length - 1;
    buffer[2] = flags;
    buffer[3] = descriptor;
  }
  return length;
}

/**
 * MODE SELECT: whether the caching page of `data` switches the write cache on.
 * @returns undefined if the page is not in it; null if something else is
 */
export function writeCacheOf(data: Uint8Array, isLong: boolean): boolean | undefined | null {
  const header = isLong ? 8 : 4;
  if (data.length === 0) return undefined;
  if (data.length < header) return null;
  const descriptors = isLong ? data[6] * 256 + data[7] : data[3];
  let wanted: boolean | undefined;
  for (let at = header + descriptors; at < data.length; ) {
    if (at + 2 > data.length) return null;
    const length = 2 + data[at + 1];
    if (at + length > data.length) return null;
    const page = data[at] & 0x3f;
    if (page === PAGE_CACHING && length >= 12) wanted = (data[at + 2] & WRITE_CACHE_ENABLED) !== 0;
    else if (page !== PAGE_CONTROL) return null;
    at += length;
  }
  return wanted;
}

function geometry(buffer: Uint8Array, at: number, { sectors }: DiskModes, which: number): number {
  buffer[at] = PAGE_GEOMETRY;
  buffer[at + 1] = 22;
  if (which !== CHANGEABLE) {
    const cylinders = Math.min(0xff_ffff, Math.floor(sectors / (HEADS * SECTORS_PER_TRACK)));
    buffer[at + 2] = cylinders >> 16;
    put16(buffer, at + 3, cylinders & 0xffff);
    buffer[at + 5] = HEADS;
    put16(buffer, at + 20, 1); // it does not rotate
  }
  return 24;
}

function caching(buffer: Uint8Array, at: number, disk: DiskModes, which: number): number {
  buffer[at] = PAGE_CACHING;
  buffer[at + 1] = 18;
  const isSet = which === CHANGEABLE ? disk.mayChangeCache : disk.writeCache;
  buffer[at + 2] = isSet ? WRITE_CACHE_ENABLED : 0;
  return 20;
}

function control(buffer: Uint8Array, at: number, which: number): number {
  buffer[at] = PAGE_CONTROL;
  buffer[at + 1] = 10;
  if (which !== CHANGEABLE) buffer[at + 3] = QUEUE_ALGORITHM_UNRESTRICTED;
  return 12;
}
