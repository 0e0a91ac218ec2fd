/**
 * The directory of persistent dirty bitmaps: what they are called, what one bit of
 * each stands for, and which clusters of the file they occupy.
 *
 * Source: QEMU docs/interop/qcow2.txt, Bitmaps extension and Bitmaps.
 */

import { bytesOfText, textOfBytes } from "../../base/byte-text.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { AUTOCLEAR_BITMAPS } from "./features.ts";
import { getUint64, type Header, MAX_L1_BYTES, setUint64 } from "./header.ts";
import { PointerTable } from "./pointer-table.ts";

const EXTENSION_BYTES = 24;
const ENTRY_BYTES = 24;
const MAX_BITMAPS = 65535;
const MAX_DIRECTORY_BYTES = 2 ** 26;

// Offsets in a directory entry.
const TABLE_OFFSET = 0;
const TABLE_SIZE = 8;
export const FLAGS = 12;
const TYPE = 16;
const GRANULARITY_BITS = 17;
const NAME_SIZE = 18;
const EXTRA_SIZE = 20;

const FLAG_IN_USE = 1;
const FLAG_AUTO = 2;
const FLAG_EXTRA_DATA_COMPATIBLE = 4;
const TYPE_DIRTY_TRACKING = 1;

/** log2 of the bytes that a bit may stand for: BME_MIN_GRANULARITY_BITS, BME_MAX_GRANULARITY_BITS. */
export const MIN_GRANULARITY_BITS = 9;
export const MAX_GRANULARITY_BITS = 31;
export const MAX_NAME_BYTES = 1023;

export interface BitmapDescription {
  readonly name: string;
  /** Bytes of the disk that one bit stands for. */
  readonly granularity: number;
  /** Inconsistent: it was not stored after the last changes, so its contents are not to be used. */
  readonly inUse: boolean;
  /** Whoever opens the image for writing keeps it up to date. */
  readonly auto: boolean;
}

export interface BitmapEntry extends BitmapDescription {
  readonly tableOffset: number;
  /** Entries. */
  readonly tableSize: number;
  /** Data, flags and types of later versions are kept. */
  readonly extra: Uint8Array;
  readonly otherFlags: number;
  readonly type: number;
}

export interface BitmapDirectory {
  readonly offset: number;
  readonly length: number;
  readonly entries: readonly BitmapEntry[];
}

/** The bitmaps of an image. @throws {ImageError} if the directory is not valid; {SystemError} */
export function listBitmaps(file: HostFile, header: Header): readonly BitmapDescription[] {
  return readBitmapDirectory(file, header)?.entries ?? [];
}

/** Bytes that such bitmaps take in an image with a disk of `size` bytes. */
export function bitmapBytes(
  bitmaps: readonly BitmapDescription[],
  size: number,
  clusterSize: number,
): number {
  if (bitmaps.length === 0) return 0;
  let clusters = 0;
  let directory = 0;
  for (const { name, granularity } of bitmaps) {
    const bits = bitmapClusters(size, granularity, clusterSize);
    clusters += bits + Math.ceil((bits * 8) / clusterSize);
    directory += entryBytes(bytesOfText(name).length, 0);
  }
  return (clusters + Math.ceil(directory / clusterSize)) * clusterSize;
}

/** Clusters that the bits take, which are the entries of the bitmap's table. */
export function bitmapClusters(size: number, granularity: number, clusterSize: number): number {
  return Math.ceil(Math.ceil(size / granularity) / 8 / clusterSize);
}

/**
 * Calls `use` for each run of the file that bitmaps occupy.
 * @throws {ImageError} if the directory is not valid; {SystemError}
 */
export function bitmapRuns(
  file: HostFile,
  header: Header,
  use: (offset: number, length: number) => void,
): void {
  const directory = readBitmapDirectory(file, header);
  if (directory === undefined) return;
  use(directory.offset, directory.length);
  const clusterSize = 2 ** header.clusterBits;
  for (const { tableOffset, tableSize } of directory.entries) {
    use(tableOffset, tableSize * 8);
    const table = PointerTable.read(file, tableOffset, tableSize);
    for (let entry = 0; entry < tableSize; entry++) {
      const cluster = table.pointer(entry);
      if (cluster !== 0) use(cluster, clusterSize);
    }
  }
}

/** Undefined if the image has no bitmaps. @throws {ImageError} if it is not valid; {SystemError} */
export function readBitmapDirectory(file: HostFile, header: Header): BitmapDirectory | undefined {
  const { bitmaps } = header;
  if ((header.autoclear & AUTOCLEAR_BITMAPS) === 0n) return undefined;
  const wrong = (why: string) => new ImageError(file.path, `its bitmap directory ${why}`);
  if (bitmaps === undefined || bitmaps.length < EXTENSION_BYTES) throw wrong("is not there");
  const extension = new DataView(bitmaps.buffer, bitmaps.byteOffset, bitmaps.byteLength);
  const count = extension.getUint32(0);
  const length = getUint64(extension, 8);
  const offset = getUint64(extension, 16);
  if (count > MAX_BITMAPS || length > MAX_DIRECTORY_BYTES || offset + length > file.size) {
    throw wrong(`of ${count} bitmaps cannot be at offset ${offset}`);
  }
  const bytes = new Uint8Array(length);
  file.read(bytes, offset);
  const view = new DataView(bytes.buffer);
  const entries: BitmapEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > length) throw wrong("is cut off");
    const tableOffset = getUint64(view, at + TABLE_OFFSET);
    const tableSize = view.getUint32(at + TABLE_SIZE);
    if (tableSize * 8 > MAX_L1_BYTES || tableOffset + tableSize * 8 > file.size) {
      throw wrong(`has a table of ${tableSize} entries at offset ${tableOffset}`);
    }
    const flags = view.getUint32(at + FLAGS);
    const granularityBits = view.getUint8(at + GRANULARITY_BITS);
    if (granularityBits < MIN_GRANULARITY_BITS || granularityBits > MAX_GRANULARITY_BITS) {
      throw wrong(`has a bitmap with one bit for 2^${granularityBits} bytes`);
    }
    const nameBytes = view.getUint16(at + NAME_SIZE);
    const extraBytes = view.getUint32(at + EXTRA_SIZE);
    const nameAt = at + ENTRY_BYTES + extraBytes;
    if (nameAt + nameBytes > length) throw wrong("is cut off");
    entries.push({
      tableOffset,
      tableSize,
      name: textOfBytes(bytes.subarray(nameAt, nameAt + nameBytes)),
      granularity: 2 ** granularityBits,
      inUse: (flags & FLAG_IN_USE) !== 0,
      auto: (flags & FLAG_AUTO) !== 0,
      extra: bytes.slice(at + ENTRY_BYTES, nameAt),
      otherFlags: (flags & ~(FLAG_IN_USE | FLAG_AUTO)) >>> 0,
      type: view.getUint8(at + TYPE),
    });
    at += entryBytes(nameBytes, extraBytes);
  }
  return { offset, length, entries };
}

/** Where each entry begins, counted from the start of the directory. */
export function entryOffsets(entries: readonly Pick<BitmapEntry, "name" | "extra">[]): number[] {
  let at = 0;
  return entries.map(({ name, extra }) => {
    const start = at;
    at += entryBytes(bytesOfText(name).length, extra.length);
    return start;
  });
}

export function encodeBitmapDirectory(entries: readonly BitmapEntry[]): Uint8Array {
  const starts = entryOffsets(entries);
  const last = entries[entries.length - 1];
  const length =
    last === undefined
      ? 0
      : starts[entries.length - 1] + entryBytes(bytesOfText(last.name).length, last.extra.length);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  entries.forEach((entry, i) => {
    const at = starts[i];
    const name = bytesOfText(entry.name);
    setUint64(view, at + TABLE_OFFSET, entry.tableOffset);
    view.setUint32(at + TABLE_SIZE, entry.tableSize);
    view.setUint32(at + FLAGS, flagsOf(entry));
    view.setUint8(at + TYPE, entry.type);
    view.setUint8(at + GRANULARITY_BITS, Math.log2(entry.granularity));
    view.setUint16(at + NAME_SIZE, name.length);
    view.setUint32(at + EXTRA_SIZE, entry.extra.length);
    bytes.set(entry.extra, at + ENTRY_BYTES);
    bytes.set(name, at + ENTRY_BYTES + entry.extra.length);
  });
  return bytes;
}

export function flagsOf({ inUse, auto, otherFlags }: BitmapEntry): number {
  return (otherFlags | (inUse ? FLAG_IN_USE : 0) | (auto ? FLAG_AUTO : 0)) >>> 0;
}

/** The bitmap can be used by programs that do not know its extra data. */
export function isExtraCompatible({ otherFlags }: BitmapEntry): boolean {
  return (otherFlags & FLAG_EXTRA_DATA_COMPATIBLE) !== 0;
}

/** Fields of a bitmap that is made here. */
export const NEW_ENTRY = {
  extra: new Uint8Array(),
  otherFlags: 0,
  type: TYPE_DIRTY_TRACKING,
  tableOffset: 0,
  tableSize: 0,
  inUse: false,
} as const;

/** The header extension that leads to a directory. */
export function bitmapExtension(count: number, length: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(EXTENSION_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, count);
  setUint64(view, 8, length);
  setUint64(view, 16, offset);
  return bytes;
}

function entryBytes(nameBytes: number, extraBytes: number): number {
  return Math.ceil((ENTRY_BYTES + extraBytes + nameBytes) / 8) * 8;
}
