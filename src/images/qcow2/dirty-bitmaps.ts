/**
 * Keeps the persistent dirty bitmaps of an image up to date while it is written.
 *
 * With the first write each bitmap that records is marked as in use in the file, and
 * its bits are loaded. They are stored, and the mark is removed, when the image is
 * closed. A program that stops before leaves bitmaps that everybody knows to miss
 * changes. Bitmaps that do not record are left alone.
 *
 * A directory that moves does so while the image says that it has none: a stop in
 * between loses the bitmaps, and never makes them wrong.
 *
 * Source: QEMU docs/interop/qcow2.txt, Bitmaps; block/qcow2-bitmap.c keeps to the same order.
 */

import { bytesOfText } from "../../base/byte-text.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import {
  type BitmapEntry,
  bitmapClusters,
  bitmapExtension,
  encodeBitmapDirectory,
  entryOffsets,
  FLAGS,
  flagsOf,
  isExtraCompatible,
  MAX_NAME_BYTES,
  NEW_ENTRY,
  readBitmapDirectory,
} from "./bitmap-directory.ts";
import { DirtyBits } from "./dirty-bits.ts";
import type { Geometry } from "./geometry.ts";
import type { Header } from "./header.ts";
import { PointerTable } from "./pointer-table.ts";
import type { Refcounts } from "./refcounts.ts";

/** QEMU's limit, BME_MAX_PHYS_SIZE; here also for all bitmaps that are in memory together. */
const MAX_BITMAP_BYTES = 2 ** 29;
/** In the low word of a table's entry that points nowhere: all bits of its cluster are set. */
const ALL_ONES = 1;

/** What bitmaps ask of the image that has them. */
export interface BitmapHost {
  readonly file: HostFile;
  readonly geometry: Geometry;
  readonly refcounts: Refcounts;
  readonly header: Header;
  /** See RefcountHost. */
  metadataAt(offset: number, length: number): string | undefined;
  barrier(): void;
  commit(): void;
  free(first: number, count: number, punch: boolean): void;
  /** The header says from now on that there are no bitmaps, until the next `setBitmaps`. */
  hideBitmaps(): void;
  /** @param extension undefined: none */
  setBitmaps(extension: Uint8Array | undefined): void;
}

interface Bitmap {
  entry: BitmapEntry;
  /** Undefined: not loaded, so the file has them as they are. */
  bits: DirtyBits | undefined;
}

export class DirtyBitmaps {
  readonly #host: BitmapHost;
  #bitmaps: Bitmap[];
  /** Those that record, and are loaded. */
  #recording: readonly DirtyBits[] = [];
  #offset: number;
  #length: number;
  /** The header points to this directory. After a change that failed half way it points to none. */
  #isCurrent = true;
  /** Removed ones whose storage the file still has. */
  #removed: BitmapEntry[] = [];

  private constructor(host: BitmapHost, entries: readonly BitmapEntry[], offset: number, length: number) {
    this.#host = host;
    this.#bitmaps = entries.map((entry) => ({ entry, bits: undefined }));
    this.#offset = offset;
    this.#length = length;
  }

  /** Those of an image, before the first write. @throws {ImageError} if they make no sense; {SystemError} */
  static begin(host: BitmapHost): DirtyBitmaps {
    const directory = readBitmapDirectory(host.file, host.header);
    const { entries, offset, length } = directory ?? { entries: [], offset: 0, length: 0 };
    const bitmaps = new DirtyBitmaps(host, entries, offset, length);
    bitmaps.#record();
    return bitmaps;
  }

  get names(): readonly string[] {
    return this.#bitmaps.map(({ entry }) => entry.name);
  }

  /** A part of the disk is written, or discarded. */
  mark(offset: number, length: number): void {
    for (const bits of this.#recording) bits.mark(offset, length);
  }

  /** Any part of the disk may be another one now. */
  markAll(): void {
    for (const bits of this.#recording) bits.markAll();
  }

  /** The bits of a bitmap. @throws {ImageError} if there is none of that name, or it is inconsistent */
  bitsOf(name: string): DirtyBits {
    return this.#load(this.#find(name));
  }

  /** Adds an empty one. Reaches the file with `store`, as all changes do. @throws {ImageError} */
  add(name: string, granularity: number, auto: boolean): DirtyBits {
    const { size } = this.#host.header;
    const bytes = Math.ceil(Math.ceil(size / granularity) / 8);
    const { path } = this.#host.file;
    if (this.#host.header.version < 3)
      throw new ImageError(path, "Cannot store dirty bitmaps in qcow2 v2 files");
    if (this.names.includes(name)) throw new ImageError(path, `Bitmap already exists: ${name}`);
    if (bytesOfText(name).length > MAX_NAME_BYTES)
      throw new ImageError(path, "the bitmap's name is too long");
    if (bytes > MAX_BITMAP_BYTES) {
      throw new ImageError(path, "Too much space will be occupied by the bitmap. Use larger granularity");
    }
    if (size === 0) throw new ImageError(path, "a disk of no bytes cannot have bitmaps");
    const bits = new DirtyBits(size, granularity);
    this.#bitmaps.push({ entry: { ...NEW_ENTRY, name, granularity, auto }, bits });
    return bits;
  }

  /** @throws {ImageError} if there is none of that name */
  remove(name: string): void {
    const bitmap = this.#find(name);
    this.#bitmaps = this.#bitmaps.filter((each) => each !== bitmap);
    this.#removed.push(bitmap.entry);
  }

  /** Starts or stops recording. @throws as `bitsOf` */
  setAuto(name: string, auto: boolean): void {
    const bitmap = this.#find(name);
    this.#load(bitmap);
    bitmap.entry = { ...bitmap.entry, auto };
  }

  /** Before the disk gets another size: everything is in memory, and the image says that it has no bitmaps. */
  beginResize(): void {
    for (const bitmap of this.#bitmaps) if (!bitmap.entry.inUse) this.#tryToLoad(bitmap);
    this.#hide();
  }

  /** After it. */
  endResize(): void {
    const { size } = this.#host.header;
    for (const { bits } of this.#bitmaps) bits?.resize(size);
    this.store();
  }

  /** Writes a new directory, with all changes. Bitmaps that record stay marked as in use. @throws {ImageError | SystemError} */
  store(): void {
    const host = this.#host;
    const { clusterSize } = host.geometry;
    const old = { offset: this.#offset, length: this.#length };
    const freed: Run[] = this.#removed.flatMap((entry) => this.#runsOf(entry));
    this.#hide();
    for (const bitmap of this.#bitmaps) if (bitmap.bits !== undefined) freed.push(...this.#write(bitmap));
    const entries = this.#bitmaps.map(({ entry, bits }) => ({
      ...entry,
      inUse: entry.inUse || (entry.auto && bits !== undefined),
    }));
    const bytes = encodeBitmapDirectory(entries);
    let offset = 0;
    if (bytes.length > 0) {
      offset = host.refcounts.allocateRun(Math.ceil(bytes.length / clusterSize)) * clusterSize;
      host.file.write(bytes, offset);
    }
    host.refcounts.writeBack();
    host.barrier();
    host.setBitmaps(bytes.length === 0 ? undefined : bitmapExtension(entries.length, bytes.length, offset));
    this.#offset = offset;
    this.#length = bytes.length;
    this.#isCurrent = true;
    if (old.length > 0) freed.push(old);
    this.#removed = [];
    this.#free(freed);
    this.#recording = this.#bitmaps.flatMap(({ entry, bits }) =>
      entry.auto && bits !== undefined ? [bits] : [],
    );
  }

  /** The image is about to be closed: bits reach the file, and the bitmaps count as consistent again. @throws {SystemError} */
  finish(): void {
    const host = this.#host;
    const recording = this.#bitmaps.filter(({ entry, bits }) => entry.auto && bits !== undefined);
    if (recording.length === 0 || !this.#isCurrent) return;
    const freed = recording.flatMap((bitmap) => this.#write(bitmap));
    host.refcounts.writeBack();
    this.#setFlags(recording, false);
    this.#free(freed);
  }

  /** Loads those that record and says in the file that they are in use. */
  #record(): void {
    const recording = this.#bitmaps.filter(({ entry }) => entry.auto && !entry.inUse);
    this.#recording = recording.flatMap((bitmap) => this.#tryToLoad(bitmap) ?? []);
    this.#setFlags(recording, true);
  }

  #hide(): void {
    this.#host.hideBitmaps();
    this.#isCurrent = false;
  }

  #find(name: string): Bitmap {
    const found = this.#bitmaps.find(({ entry }) => entry.name === name);
    if (found === undefined) throw new ImageError(this.#host.file.path, `Dirty bitmap '${name}' not found`);
    return found;
  }

  /** One that cannot be loaded counts as inconsistent from now on. */
  #tryToLoad(bitmap: Bitmap): DirtyBits | undefined {
    try {
      return this.#load(bitmap);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      bitmap.entry = { ...bitmap.entry, inUse: true };
      return undefined;
    }
  }

  #load(bitmap: Bitmap): DirtyBits {
    if (bitmap.bits !== undefined) return bitmap.bits;
    const { file, header } = this.#host;
    const loaded = this.#bitmaps.reduce((sum, { bits }) => sum + (bits?.bytes.length ?? 0), 0);
    const bits = readBits(file, header, bitmap.entry, MAX_BITMAP_BYTES - loaded);
    // The table and the bits will be written in place.
    const metadata = this.#runsOf(bitmap.entry)
      .map(({ offset, length }) => this.#host.metadataAt(offset, length))
      .find((what) => what !== undefined);
    if (metadata !== undefined) {
      throw new ImageError(file.path, `Bitmap '${bitmap.entry.name}' lies where ${metadata} is`);
    }
    bitmap.bits = bits;
    return bits;
  }

  /** Writes the bits of a loaded bitmap, and its table. Returns what the file does without afterwards. */
  #write(bitmap: Bitmap): Run[] {
    const { file, geometry, refcounts } = this.#host;
    const { clusterSize } = geometry;
    const { bits, entry } = bitmap;
    if (bits === undefined) return [];
    const size = Math.ceil(bits.bytes.length / clusterSize);
    const old = PointerTable.read(file, entry.tableOffset, entry.tableSize);
    const freed: Run[] = [];
    let { tableOffset } = entry;
    if (size !== entry.tableSize) {
      if (old.length > 0) freed.push({ offset: old.offset, length: old.length });
      tableOffset = refcounts.allocateRun(Math.ceil((size * 8) / clusterSize)) * clusterSize;
    }
    const table = new PointerTable(tableOffset, size);
    for (let i = 0; i < Math.max(size, old.size); i++) {
      const part = bits.bytes.subarray(i * clusterSize, (i + 1) * clusterSize);
      let cluster = i < old.size ? old.pointer(i) : 0;
      if (part.every((byte) => byte === 0)) {
        if (cluster !== 0) freed.push({ offset: cluster, length: clusterSize });
        continue;
      }
      if (cluster === 0) cluster = refcounts.allocate(1) * clusterSize;
      const padded = new Uint8Array(clusterSize);
      padded.set(part);
      file.write(padded, cluster);
      table.set(i, cluster, false);
    }
    // Its clusters are counted before it points to them.
    refcounts.writeBack();
    this.#host.barrier();
    table.writeTo(file, tableOffset);
    bitmap.entry = { ...entry, tableOffset, tableSize: size };
    return freed;
  }

  #runsOf({ tableOffset, tableSize }: BitmapEntry): Run[] {
    if (tableSize === 0) return [];
    const { file, geometry } = this.#host;
    const table = PointerTable.read(file, tableOffset, tableSize);
    const runs: Run[] = [{ offset: tableOffset, length: tableSize * 8 }];
    for (let i = 0; i < tableSize; i++) {
      const cluster = table.pointer(i);
      if (cluster !== 0) runs.push({ offset: cluster, length: geometry.clusterSize });
    }
    return runs;
  }

  #free(runs: readonly Run[]): void {
    const { clusterSize } = this.#host.geometry;
    for (const { offset, length } of runs) {
      this.#host.free(offset / clusterSize, Math.ceil(length / clusterSize), false);
    }
    if (runs.length > 0) this.#host.commit();
  }

  /** In the directory, in place: a field of four bytes lies in one sector. */
  #setFlags(bitmaps: readonly Bitmap[], inUse: boolean): void {
    if (bitmaps.length === 0) return;
    const { file } = this.#host;
    const starts = entryOffsets(this.#bitmaps.map(({ entry }) => entry));
    this.#host.barrier();
    for (const bitmap of bitmaps) {
      const field = new Uint8Array(4);
      new DataView(field.buffer).setUint32(0, flagsOf({ ...bitmap.entry, inUse }));
      file.write(field, this.#offset + starts[this.#bitmaps.indexOf(bitmap)] + FLAGS);
    }
    this.#host.barrier();
  }
}

/**
 * The bits of one bitmap of an image, as the file has them.
 * @throws {ImageError} if they cannot be used, or take more than `most` bytes; {SystemError}
 */
export function readBits(
  file: HostFile,
  header: Header,
  entry: BitmapEntry,
  most = MAX_BITMAP_BYTES,
): DirtyBits {
  const { name, granularity, tableOffset, tableSize, inUse } = entry;
  const clusterSize = 2 ** header.clusterBits;
  const refuse = (why: string) => new ImageError(file.path, `Bitmap '${name}' ${why}`);
  if (inUse) {
    throw refuse(
      "is inconsistent and cannot be used\nTry 'vmexit img bitmap --remove' to delete this bitmap from disk",
    );
  }
  if (tableSize !== bitmapClusters(header.size, granularity, clusterSize)) {
    throw refuse(`has a table of ${tableSize} entries, which does not fit the disk`);
  }
  if (entry.type !== NEW_ENTRY.type || (entry.extra.length > 0 && !isExtraCompatible(entry))) {
    throw refuse("is of a kind that this version does not know");
  }
  if (tableOffset % clusterSize !== 0) throw refuse(`has a table at offset ${tableOffset}`);
  const bytes = Math.ceil(header.size / granularity / 8);
  if (bytes > most) throw refuse(`has ${bytes} bytes; the maximum is ${most}`);
  const bits = new DirtyBits(header.size, granularity);
  const table = PointerTable.read(file, tableOffset, tableSize);
  for (let i = 0; i < tableSize; i++) {
    const part = bits.bytes.subarray(i * clusterSize, (i + 1) * clusterSize);
    const cluster = table.pointer(i);
    if (cluster % clusterSize !== 0 || cluster >= file.size) {
      throw refuse(`has a part at offset ${cluster}, which is not valid`);
    }
    if (cluster !== 0) file.read(part, cluster);
    else if ((table.low(i) & ALL_ONES) !== 0) part.fill(0xff);
  }
  bits.clearPadding();
  return bits;
}

interface Run {
  readonly offset: number;
  readonly length: number;
}
