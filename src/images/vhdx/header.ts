/**
 * The header section of a VHDX image, its first MiB: which of two headers is valid,
 * whether the log has changes, and the places of the two regions that contain
 * everything else.
 *
 * Source: MS-VHDX (Virtual Hard Disk v2), 2.2 Header Section, whose names are used.
 *
 * Not supported: an image whose log has to be replayed.
 */

import { hexDigits } from "../../base/hex.ts";
import { KIB, MIB } from "../../base/units.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { crc32c } from "./crc32c.ts";
import { hasChanges } from "./log.ts";

const FILE_TYPE_IDENTIFIER = "vhdxfile";

const HEADERS_AT = [64 * KIB, 128 * KIB];
const HEADER_BYTES = 4 * KIB;
const HEADER_SIGNATURE = "head";
const CHECKSUM = 4; // of headers and region tables
const SEQUENCE_NUMBER = 8;
const LOG_GUID = 48;
const GUID_BYTES = 16;
const LOG_VERSION = 64;
const VERSION = 66;
const LOG_LENGTH = 68;
const LOG_OFFSET = 72;

const REGION_TABLES_AT = [192 * KIB, 256 * KIB];
const REGION_TABLE_BYTES = 64 * KIB;
const REGION_TABLE_SIGNATURE = "regi";
const ENTRY_COUNT = 8;
const MAX_REGIONS = 2047;
const REGIONS = 16;
const REGION_BYTES = 32;
// Offsets in a region table entry, behind its GUID.
const FILE_OFFSET = 16;
const LENGTH = 24;
const REQUIRED = 28;

const BAT = "2dc27766-f623-4200-9d64-115e9bfd4a08";
const METADATA = "8b7ca206-4790-4b9a-b8fe-575f050f886e";

/** A part of the file. */
export interface Region {
  readonly fileOffset: number;
  /** Bytes. */
  readonly length: number;
}

export interface Regions {
  readonly bat: Region;
  readonly metadata: Region;
}

/** True if a file begins as these images do. */
export function looksLikeVhdx(head: Uint8Array): boolean {
  return ascii(head, 0, FILE_TYPE_IDENTIFIER.length) === FILE_TYPE_IDENTIFIER;
}

/** @throws {ImageError} for a file that is not such an image, or has to be repaired first; {SystemError} */
export function readHeaderSection(file: HostFile): Regions {
  const identifier = new Uint8Array(FILE_TYPE_IDENTIFIER.length);
  file.read(identifier, 0);
  if (!looksLikeVhdx(identifier)) throw new ImageError(file.path, "this is not a VHDX image");
  checkHeader(file);
  return readRegionTable(file);
}

/** A GUID in its usual form: its first three parts are little endian in the file. */
export function guidAt(view: DataView, at: number): string {
  const last = hexDigits(view.getUint16(at + 10), 4) + hexDigits(view.getUint32(at + 12), 8);
  const [one, two, three] = [
    view.getUint32(at, true),
    view.getUint16(at + 4, true),
    view.getUint16(at + 6, true),
  ];
  return `${hexDigits(one, 8)}-${hexDigits(two, 4)}-${hexDigits(three, 4)}-${hexDigits(view.getUint16(at + 8), 4)}-${last}`;
}

/** A 64-bit field; not exact from 2^53 on, and then larger than any valid value. */
export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

export function ascii(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** Reads the current header: the valid one with the larger number. */
function checkHeader(file: HostFile): void {
  const headers = HEADERS_AT.map((at) => readChecked(file, at, HEADER_BYTES, HEADER_SIGNATURE))
    .filter((header) => header !== undefined)
    .filter((header) => header.getUint16(VERSION, true) === 1)
    .sort((one, other) => getUint64(other, SEQUENCE_NUMBER) - getUint64(one, SEQUENCE_NUMBER));
  if (headers.length === 0) throw new ImageError(file.path, "neither of its two headers is valid");
  const [current] = headers;
  const guid = new Uint8Array(current.buffer, LOG_GUID, GUID_BYTES);
  if (guid.every((byte) => byte === 0)) return;
  const isKnown = current.getUint16(LOG_VERSION, true) === 0;
  const [length, offset] = [current.getUint32(LOG_LENGTH, true), getUint64(current, LOG_OFFSET)];
  if (isKnown && !hasChanges(file, offset, length, guid)) return;
  throw new ImageError(
    file.path,
    "it was not closed: changes wait in its log to be replayed, which is not supported; `qemu-img check -r all` replays them",
  );
}

function readRegionTable(file: HostFile): Regions {
  const refuse = (why: string): never => {
    throw new ImageError(file.path, why);
  };
  const table =
    readChecked(file, REGION_TABLES_AT[0], REGION_TABLE_BYTES, REGION_TABLE_SIGNATURE) ??
    readChecked(file, REGION_TABLES_AT[1], REGION_TABLE_BYTES, REGION_TABLE_SIGNATURE) ??
    refuse("neither of its two region tables is whole");
  const count = table.getUint32(ENTRY_COUNT, true);
  if (count > MAX_REGIONS) refuse(`${count} regions; the maximum is ${MAX_REGIONS}`);
  const found = new Map<string, Region>();
  for (let at = REGIONS; at < REGIONS + count * REGION_BYTES; at += REGION_BYTES) {
    const guid = guidAt(table, at);
    const fileOffset = getUint64(table, at + FILE_OFFSET);
    const length = table.getUint32(at + LENGTH, true);
    if (guid !== BAT && guid !== METADATA) {
      if ((table.getUint32(at + REQUIRED, true) & 1) !== 0) {
        refuse(`it needs a region ${guid}, which this version does not know`);
      }
      continue;
    }
    if (found.has(guid)) refuse(`it has two regions ${guid}`);
    if (fileOffset < MIB || fileOffset % MIB !== 0 || fileOffset + length > file.size) {
      refuse(`a region of ${length} bytes at offset ${fileOffset}, which is not valid`);
    }
    found.set(guid, { fileOffset, length });
  }
  const bat = found.get(BAT) ?? refuse("it has no table of blocks");
  const metadata = found.get(METADATA) ?? refuse("it has no metadata");
  return { bat, metadata };
}

/** A structure with signature and checksum; undefined unless both are valid. */
function readChecked(file: HostFile, at: number, length: number, signature: string): DataView | undefined {
  const bytes = new Uint8Array(length);
  if (file.read(bytes, at) < length || ascii(bytes, 0, 4) !== signature) return undefined;
  const view = new DataView(bytes.buffer);
  return view.getUint32(CHECKSUM, true) === crc32c(bytes, CHECKSUM) ? view : undefined;
}
