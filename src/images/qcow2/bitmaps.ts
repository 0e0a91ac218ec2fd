/**
 * Persistent dirty bitmaps: what they are called, and which clusters of the file
 * they occupy. Their contents are left to programs that keep them.
 *
 * Source: QEMU docs/interop/qcow2.txt, Bitmaps extension and Bitmaps.
 */

import { bytesOfText, textOfBytes } from "../../base/byte-text.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { AUTOCLEAR_BITMAPS } from "./features.ts";
import { getUint64, type Header, MAX_L1_BYTES } from "./header.ts";
import { PointerTable } from "./pointer-table.ts";

const EXTENSION_BYTES = 24;
const ENTRY_BYTES = 24;
const MAX_BITMAPS = 65535;
const MAX_DIRECTORY_BYTES = 2 ** 26;

const FLAG_IN_USE = 1;
const FLAG_AUTO = 2;
/** log2 of the bytes that a bit may stand for: BME_MIN_GRANULARITY_BITS, BME_MAX_GRANULARITY_BITS. */
const MIN_GRANULARITY_BITS = 9;
const MAX_GRANULARITY_BITS = 31;

export interface BitmapDescription {
  readonly name: string;
  /** Bytes of the disk that one bit stands for. */
  readonly granularity: number;
  /** Not stored properly: its contents are not to be used. */
  readonly inUse: boolean;
  /** Whoever opens the image for writing keeps it up to date. */
  readonly auto: boolean;
}

interface DirectoryEntry extends BitmapDescription {
  readonly tableOffset: number;
  /** Entries. */
  readonly tableSize: number;
}

interface Directory {
  readonly offset: number;
  readonly length: number;
  readonly entries: readonly DirectoryEntry[];
}

/** The bitmaps of an image. @throws {ImageError} if the directory makes no sense; {SystemError} */
export function listBitmaps(file: HostFile, header: Header): readonly BitmapDescription[] {
  return readDirectory(file, header)?.entries ?? [];
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
    const bits = Math.ceil(Math.ceil(size / granularity) / 8 / clusterSize);
    clusters += bits + Math.ceil((bits * 8) / clusterSize);
    directory += entryBytes(bytesOfText(name).length, 0);
  }
  return (clusters + Math.ceil(directory / clusterSize)) * clusterSize;
}

/**
 * Calls `use` for each run of the file that bitmaps occupy.
 * @throws {ImageError} if the directory makes no sense; {SystemError}
 */
export function bitmapRuns(
  file: HostFile,
  header: Header,
  use: (offset: number, length: number) => void,
): void {
  const directory = readDirectory(file, header);
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

function readDirectory(file: HostFile, header: Header): Directory | undefined {
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
  const entries: DirectoryEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > length) throw wrong("is cut off");
    const tableOffset = getUint64(view, at);
    const tableSize = view.getUint32(at + 8);
    if (tableSize * 8 > MAX_L1_BYTES || tableOffset + tableSize * 8 > file.size) {
      throw wrong(`has a table of ${tableSize} entries at offset ${tableOffset}`);
    }
    const flags = view.getUint32(at + 12);
    const granularityBits = view.getUint8(at + 17);
    if (granularityBits < MIN_GRANULARITY_BITS || granularityBits > MAX_GRANULARITY_BITS) {
      throw wrong(`has a bitmap with one bit for 2^${granularityBits} bytes`);
    }
    const nameBytes = view.getUint16(at + 18);
    const extraBytes = view.getUint32(at + 20);
    const nameAt = at + ENTRY_BYTES + extraBytes;
    if (nameAt + nameBytes > length) throw wrong("is cut off");
    entries.push({
      tableOffset,
      tableSize,
      name: textOfBytes(bytes.subarray(nameAt, nameAt + nameBytes)),
      granularity: 2 ** granularityBits,
      inUse: (flags & FLAG_IN_USE) !== 0,
      auto: (flags & FLAG_AUTO) !== 0,
    });
    at += entryBytes(nameBytes, extraBytes);
  }
  return { offset, length, entries };
}

function entryBytes(nameBytes: number, extraBytes: number): number {
  return Math.ceil((ENTRY_BYTES + extraBytes + nameBytes) / 8) * 8;
}
