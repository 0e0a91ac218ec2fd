/**
 * The metadata region of a VHDX image: what kind of disk it is.
 *
 * Source: MS-VHDX, 2.6 Metadata Region, whose names are used.
 */

import { MIB } from "../../base/units.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { ascii, getUint64, guidAt, type Region } from "./header.ts";

const TABLE_BYTES = 64 * 1024;
const TABLE_SIGNATURE = "metadata";
const ENTRY_COUNT = 10;
const MAX_ENTRIES = 2047;
const ENTRY_BYTES = 32;
// Offsets in an entry, behind its GUID.
const OFFSET = 16;
const LENGTH = 20;
const FLAGS = 24;
const IS_REQUIRED = 4;

const FILE_PARAMETERS = "caa16737-fa36-4d43-b3b6-33f0aa44e76b";
const VIRTUAL_DISK_SIZE = "2fa54224-cd1b-4876-b211-5dbed83bf4b8";
const VIRTUAL_DISK_ID = "beca12ab-b2e6-4523-93ef-c309e000c746";
const LOGICAL_SECTOR_SIZE = "8141bf1d-a96f-4709-ba47-f233a8faab5f";
const PHYSICAL_SECTOR_SIZE = "cda348c7-445d-4471-9cc9-e9885251c556";
const PARENT_LOCATOR = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c";
/** Bytes that an item has at least. */
const ITEMS: ReadonlyMap<string, number> = new Map([
  [FILE_PARAMETERS, 8],
  [VIRTUAL_DISK_SIZE, 8],
  [VIRTUAL_DISK_ID, 16],
  [LOGICAL_SECTOR_SIZE, 4],
  [PHYSICAL_SECTOR_SIZE, 4],
  [PARENT_LOCATOR, 0],
]);

const HAS_PARENT = 2;

const MAX_DISK = 64 * 2 ** 40;

export interface Metadata {
  /** Bytes, a power of two from 1 to 256 MiB. */
  readonly blockSize: number;
  /** Bytes of the disk. */
  readonly virtualDiskSize: number;
  /** 512 or 4096. */
  readonly logicalSectorSize: number;
}

/** @throws {ImageError} for a disk that cannot be used; {SystemError} */
export function readMetadata(file: HostFile, region: Region): Metadata {
  const refuse = (why: string): never => {
    throw new ImageError(file.path, why);
  };
  const items = findItems(file, region, refuse);
  const item = (guid: string): DataView => {
    const bytes = new Uint8Array(ITEMS.get(guid) ?? 0);
    const at = items.get(guid) ?? refuse(`it lacks the metadata item ${guid}`);
    if (file.read(bytes, region.fileOffset + at) < bytes.length) refuse("its metadata is cut off");
    return new DataView(bytes.buffer);
  };
  const parameters = item(FILE_PARAMETERS);
  // A locator by itself may be left from a disk that was merged with its parent.
  if ((parameters.getUint32(4, true) & HAS_PARENT) !== 0) {
    refuse("it is a differencing disk, which depends on another file; merge the two files first");
  }
  const blockSize = parameters.getUint32(0, true);
  if (blockSize < MIB || blockSize > 256 * MIB || !Number.isInteger(Math.log2(blockSize))) {
    refuse(`blocks of ${blockSize} bytes; they have to be a power of two from 1 to 256 MiB`);
  }
  const logicalSectorSize = item(LOGICAL_SECTOR_SIZE).getUint32(0, true);
  if (logicalSectorSize !== 512 && logicalSectorSize !== 4096) {
    refuse(`sectors of ${logicalSectorSize} bytes; they have to be of 512 or 4096`);
  }
  const virtualDiskSize = getUint64(item(VIRTUAL_DISK_SIZE), 0);
  if (virtualDiskSize > MAX_DISK || virtualDiskSize % logicalSectorSize !== 0) {
    refuse(
      `a disk of ${virtualDiskSize} bytes; whole sectors of ${logicalSectorSize} bytes are wanted, up to 64 TiB`,
    );
  }
  return { blockSize, virtualDiskSize, logicalSectorSize };
}

/** Where in the region the items begin. */
function findItems(
  file: HostFile,
  region: Region,
  refuse: (why: string) => never,
): ReadonlyMap<string, number> {
  const bytes = new Uint8Array(TABLE_BYTES);
  if (
    region.length < TABLE_BYTES ||
    file.read(bytes, region.fileOffset) < TABLE_BYTES ||
    ascii(bytes, 0, TABLE_SIGNATURE.length) !== TABLE_SIGNATURE
  ) {
    refuse("its metadata is not where its region table says that it is");
  }
  const table = new DataView(bytes.buffer);
  const count = table.getUint16(ENTRY_COUNT, true);
  if (count > MAX_ENTRIES) refuse(`${count} metadata items; the maximum is ${MAX_ENTRIES}`);
  const found = new Map<string, number>();
  for (let at = ENTRY_BYTES; at < (count + 1) * ENTRY_BYTES; at += ENTRY_BYTES) {
    const guid = guidAt(table, at);
    const offset = table.getUint32(at + OFFSET, true);
    const length = table.getUint32(at + LENGTH, true);
    const least = ITEMS.get(guid);
    if (least === undefined) {
      if ((table.getUint32(at + FLAGS, true) & IS_REQUIRED) === 0) continue;
      return refuse(`it needs a metadata item ${guid}, which this version does not know`);
    }
    if (found.has(guid)) refuse(`it has two metadata items ${guid}`);
    if (length < least || offset < TABLE_BYTES || offset + length > region.length) {
      refuse(`a metadata item of ${length} bytes at offset ${offset}, which is not valid`);
    }
    found.set(guid, offset);
  }
  return found;
}
