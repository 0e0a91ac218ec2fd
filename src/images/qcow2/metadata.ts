/**
 * The tables of an open image, and the order in which their changes reach the
 * file, so that the image is whole whenever the program or the host stops.
 *
 *   1. data, and refcount blocks with counts that were raised
 *   2. the refcount table, which points to those blocks
 *   3. L2 tables, which point to that data
 *   4. the L1 table, which points to those L2 tables
 *   5. only now counts are lowered, and clusters that became free used again
 *
 * Between two steps lies a barrier, fdatasync(2). A stop in between leaks
 * clusters and damages nothing. With lazy refcounts steps 1 and 2 wait until the
 * image is closed; until then it is marked dirty, and whoever opens it counts anew.
 *
 * Source: QEMU docs/interop/qcow2.txt; its block/qcow2-cache.c keeps the same order.
 */

import { ImageError } from "../../disk/image-error.ts";
import { check } from "../../sys/errors.ts";
import type { HostFile } from "../../sys/file.ts";
import { TableCache } from "../table-cache.ts";
import { type BitmapHost, DirtyBitmaps } from "./dirty-bitmaps.ts";
import {
  AUTOCLEAR_BITMAPS,
  AUTOCLEAR_DATA_FILE_RAW,
  COMPAT_LAZY_REFCOUNTS,
  INCOMPAT_CORRUPT,
  INCOMPAT_DIRTY,
  INCOMPAT_EXTENDED_L2,
} from "./features.ts";
import { FreeQueue } from "./free-queue.ts";
import { type Geometry, geometryOf } from "./geometry.ts";
import {
  AUTOCLEAR_AT,
  encodeHeader,
  type Header,
  INCOMPATIBLE_AT,
  L1_SIZE_AT,
  NB_SNAPSHOTS_AT,
  SIZE_AT,
  setUint64,
} from "./header.ts";
import { PointerTable } from "./pointer-table.ts";
import { type RefcountPorts, Refcounts } from "./refcounts.ts";
import { rewriteHeader } from "./rewrite-header.ts";
import { snapshotTableBytes } from "./snapshot-table.ts";

export interface CacheSizes {
  /** Bytes of L2 tables that are kept at most; what the whole disk needs is enough. */
  readonly l2: number;
  /** Bytes of refcount blocks. */
  readonly refcounts: number;
}

export class Metadata implements RefcountPorts, BitmapHost {
  readonly file: HostFile;
  /** Where guest data is: the same file, or the image's external data file. */
  readonly data: HostFile;
  readonly geometry: Geometry;
  readonly refcounts: Refcounts;
  readonly l2: TableCache;
  /** False: nothing waits for stable storage. For images that are being made, or that may be lost. */
  readonly durable: boolean;
  #header: Header;
  #l1: PointerTable;
  readonly #frees = new FreeQueue();
  /** Of the snapshot table, once something has changed: until then nothing is overwritten. */
  #snapshotBytes = 0;
  #writing = false;
  /** Undefined: none, or nothing was written yet. */
  #bitmaps: DirtyBitmaps | undefined;
  #corrupt = false;
  #settle = () => {};

  /** @throws {SystemError} if the tables cannot be read. */
  constructor(file: HostFile, data: HostFile, header: Header, caches: CacheSizes, durable: boolean) {
    this.file = file;
    this.data = data;
    this.durable = durable;
    this.#header = header;
    const geometry = geometryOf(
      header.clusterBits,
      header.refcountOrder,
      (header.incompatible & INCOMPAT_EXTENDED_L2) !== 0n,
    );
    this.geometry = geometry;
    this.#l1 = PointerTable.read(file, header.l1Offset, header.l1Size);
    const { sliceBytes, clusterSize, l2EntryBytes, refcountEntries } = geometry;
    const place = { offset: header.refcountTableOffset, clusters: header.refcountTableClusters };
    // As many slices as the disk, or the file, can need at all; but always a few.
    const l2Needed = (Math.ceil(header.size / clusterSize) * l2EntryBytes) / sliceBytes;
    const blocksNeeded = (file.size / clusterSize / refcountEntries) * (clusterSize / sliceBytes);
    const slots = (bytes: number, needed: number) =>
      Math.max(4, Math.floor(Math.min(bytes / sliceBytes, Math.ceil(needed) + 16)));
    this.refcounts = new Refcounts(
      file,
      geometry,
      place,
      this,
      slots(caches.refcounts, 2 * blocksNeeded + 64),
    );
    this.l2 = new TableCache(file, sliceBytes, slots(caches.l2, l2Needed), () => this.commit());
    // Opened for repair, perhaps: nothing can be given out by a refcount table that is not there.
    const counts = place.clusters > 0 && place.offset > 0 && place.offset < file.size;
    this.#corrupt = (header.incompatible & INCOMPAT_CORRUPT) !== 0n || !counts;
  }

  get header(): Header {
    return this.#header;
  }

  get l1(): PointerTable {
    return this.#l1;
  }

  /** Refcounts may be wrong in the file: lazy refcounts in use, or a crash with them. */
  get isDirtyImage(): boolean {
    return (this.#header.incompatible & INCOMPAT_DIRTY) !== 0n;
  }

  get isChanged(): boolean {
    return this.l2.isDirty || this.#l1.isDirty || this.#frees.length > 0 || this.#refcountsWait;
  }

  /** Before the first change: the image says what is no longer true of it. @throws {ImageError | SystemError} */
  beginWriting(): void {
    if (this.#corrupt) {
      throw new ImageError(this.file.path, "it is marked corrupt; repair it before it is written to");
    }
    if (this.#writing) return;
    const { header } = this;
    this.#snapshotBytes = snapshotTableBytes(this.file, header);
    this.#bitmaps = this.#beginBitmaps();
    // What is not kept here loses its bit: everybody knows then that it misses our changes.
    const known = AUTOCLEAR_DATA_FILE_RAW | (this.#bitmaps === undefined ? 0n : AUTOCLEAR_BITMAPS);
    const autoclear = header.autoclear & known;
    if (autoclear !== header.autoclear) {
      this.#setFeatures(AUTOCLEAR_AT, autoclear, () => {
        this.#header = { ...header, autoclear };
      });
    }
    this.#writing = true;
  }

  /** The dirty bitmaps that must record a change of the disk, or that are to be changed. @throws as `beginWriting` */
  get bitmaps(): DirtyBitmaps | undefined {
    this.beginWriting();
    return this.#bitmaps;
  }

  /** The same for an image that may get its first. */
  get bitmapsToChange(): DirtyBitmaps {
    this.beginCounting();
    this.#bitmaps ??= DirtyBitmaps.begin(this);
    return this.#bitmaps;
  }

  /** Before a refcount changes: with lazy refcounts the change is not written to the file. */
  beginCounting(): void {
    this.beginWriting();
    const lazy = (this.#header.compatible & COMPAT_LAZY_REFCOUNTS) !== 0n;
    if (lazy && !this.isDirtyImage) this.setDirty(true);
  }

  /** Before counts and COPIED bits contradict each other for a while: a stop in between is mended when the image is opened. */
  beginUnsettled(): void {
    this.beginWriting();
    if (this.#header.version === 3 && !this.isDirtyImage) this.setDirty(true);
  }

  /** They agree again. @throws {SystemError} */
  settle(): void {
    this.flush();
    if (!this.isDirtyImage || this.#isLazy) return;
    this.refcounts.writeBack();
    this.setDirty(false);
  }

  setDirty(dirty: boolean): void {
    const { incompatible } = this.#header;
    this.#setIncompatible(dirty ? incompatible | INCOMPAT_DIRTY : incompatible & ~INCOMPAT_DIRTY);
  }

  /** After a repair. */
  clearCorrupt(): void {
    this.#corrupt = false;
    const { incompatible } = this.#header;
    // Version 2 has no such field.
    if ((incompatible & INCOMPAT_CORRUPT) !== 0n) this.#setIncompatible(incompatible & ~INCOMPAT_CORRUPT);
  }

  /** Stops all writing, and marks the image so that nobody writes to it before a repair. Returns what to throw. */
  corrupt(why: string): ImageError {
    if (!this.#corrupt && this.#writing && this.#header.version === 3) {
      this.#setIncompatible(this.#header.incompatible | INCOMPAT_CORRUPT);
    }
    this.#corrupt = true;
    return new ImageError(this.file.path, `${why}: the image is damaged`);
  }

  metadataAt(offset: number, length: number): string | undefined {
    const { clusterSize } = this.geometry;
    const end = offset + length;
    if (offset < clusterSize) return "the header";
    const { table } = this.refcounts;
    if (offset < table.offset + table.length && table.offset < end) return "the refcount table";
    const l1 = this.#l1;
    if (offset < l1.offset + l1.length && l1.offset < end) return "the L1 table";
    const { snapshotsOffset } = this.#header;
    if (offset < snapshotsOffset + this.#snapshotBytes && snapshotsOffset < end) return "the snapshot table";
    return undefined;
  }

  /** A use of clusters ended. They are given out again when the file no longer needs them. */
  free(first: number, count: number, punch: boolean): void {
    if (this.#frees.isFull) this.commit();
    this.#frees.add(first, count, punch);
  }

  /** Brings all changes to the file, in order. @throws {SystemError} after which nothing is lost and it can be tried again. */
  commit(): void {
    if (!this.#isLazy) this.refcounts.writeBack();
    if (this.l2.isDirty || this.#l1.isDirty) {
      this.barrier();
      this.#lengthenFile();
      this.l2.writeBackAll();
      if (this.#l1.isDirty) {
        this.barrier();
        this.#l1.writeBack(this.file);
      }
    }
    if (this.#frees.length > 0) {
      this.barrier();
      this.#lowerFreed();
    }
  }

  /** Commits, and puts it and all data on stable storage. @throws {SystemError} */
  flush(): void {
    if (this.isChanged) this.commit();
    this.barrier();
  }

  /** The last words: bitmaps and refcounts too, and no longer dirty. @throws {SystemError} */
  finish(): void {
    try {
      if (!this.#corrupt) this.#bitmaps?.finish();
    } finally {
      this.#finishTables();
    }
  }

  #finishTables(): void {
    this.commit();
    this.refcounts.writeBack();
    if (this.durable && this.#writing) this.barrier();
    if (this.isDirtyImage && this.#writing) this.setDirty(false);
  }

  /** @param settle waits for transfers of data that were begun, before tables that point to it reach the file */
  settleWith(settle: () => void): void {
    this.#settle = settle;
  }

  barrier(): void {
    this.#settle();
    if (!this.durable) return;
    if (this.data !== this.file) check(this.data.flush(), "fdatasync", `flushing ${this.data.path}`);
    check(this.file.flush(), "fdatasync", `flushing ${this.file.path}`);
  }

  /** Makes another L1 table the active one, and the disk as large as it says; it is in the file already. The old one is the caller's to free. */
  switchL1(table: PointerTable, size: number): void {
    // size, crypt_method (none), l1_size and l1_table_offset lie one behind the other.
    const fields = new Uint8Array(24);
    const view = new DataView(fields.buffer);
    setUint64(view, 0, size);
    view.setUint32(L1_SIZE_AT - SIZE_AT, table.size);
    setUint64(view, L1_SIZE_AT - SIZE_AT + 4, table.offset);
    this.#writeField(SIZE_AT, fields, () => {
      this.#l1 = table;
      this.#header = { ...this.#header, size, l1Size: table.size, l1Offset: table.offset };
    });
  }

  setSize(size: number): void {
    const field = new Uint8Array(8);
    setUint64(new DataView(field.buffer), 0, size);
    this.#writeField(SIZE_AT, field, () => {
      this.#header = { ...this.#header, size };
    });
  }

  /** Says whether the image could name this backing file. @throws {ImageError} if not */
  checkBackingFile(name: string | undefined, format: string | undefined): void {
    const { path } = this.file;
    if (name !== undefined && (this.#header.autoclear & AUTOCLEAR_DATA_FILE_RAW) !== 0n) {
      throw new ImageError(path, "its data file is the raw disk by itself, so nothing can stand below it");
    }
    encodeHeader(path, this.#headerOn(name, format));
  }

  /** Names another backing file, or none. @throws {ImageError} as `checkBackingFile`; {SystemError} */
  setBackingFile(name: string | undefined, format: string | undefined): void {
    this.checkBackingFile(name, format);
    const header = this.#headerOn(name, format);
    this.commit();
    rewriteHeader(this.file, header, () => this.barrier());
    this.#header = header;
  }

  #headerOn(backingFile: string | undefined, backingFormat: string | undefined): Header {
    const { table, tableClusters } = this.refcounts;
    return {
      ...this.#header,
      refcountTableOffset: table.offset,
      refcountTableClusters: tableClusters,
      backingFile,
      backingFormat,
    };
  }

  hideBitmaps(): void {
    const { autoclear } = this.#header;
    if ((autoclear & AUTOCLEAR_BITMAPS) === 0n) return;
    const without = autoclear & ~AUTOCLEAR_BITMAPS;
    this.#setFeatures(AUTOCLEAR_AT, without, () => {
      this.#header = { ...this.#header, autoclear: without };
    });
  }

  setBitmaps(extension: Uint8Array | undefined): void {
    const { backingFile, backingFormat } = this.#header;
    const without = this.#header.autoclear & ~AUTOCLEAR_BITMAPS;
    const header = {
      ...this.#headerOn(backingFile, backingFormat),
      bitmaps: extension,
      autoclear: extension === undefined ? without : without | AUTOCLEAR_BITMAPS,
    };
    rewriteHeader(this.file, header, () => this.barrier());
    this.#header = header;
  }

  setSnapshots(count: number, offset: number, bytes: number): void {
    const fields = new Uint8Array(12);
    const view = new DataView(fields.buffer);
    view.setUint32(0, count);
    setUint64(view, 4, offset);
    this.#writeField(NB_SNAPSHOTS_AT, fields, () => {
      this.#header = { ...this.#header, snapshots: count, snapshotsOffset: offset };
      this.#snapshotBytes = bytes;
    });
  }

  /**
   * To where clusters were given out. A write that was begun and then failed may have
   * left its cluster beyond the end of the file, where no table may point.
   */
  #lengthenFile(): void {
    const { clusterSize } = this.geometry;
    const end = this.refcounts.end * clusterSize;
    if (this.data === this.file && this.file.size <= end - clusterSize) this.file.truncate(end);
  }

  /** A directory that is not valid is as good as none. */
  #beginBitmaps(): DirtyBitmaps | undefined {
    if ((this.#header.autoclear & AUTOCLEAR_BITMAPS) === 0n) return undefined;
    try {
      return DirtyBitmaps.begin(this);
    } catch (error) {
      if (error instanceof ImageError) return undefined;
      throw error;
    }
  }

  get #isLazy(): boolean {
    return this.isDirtyImage && (this.#header.compatible & COMPAT_LAZY_REFCOUNTS) !== 0n;
  }

  get #refcountsWait(): boolean {
    return this.refcounts.isDirty && !this.#isLazy;
  }

  #lowerFreed(): void {
    const { clusterSize } = this.geometry;
    this.#frees.drain((first, count, punch) => {
      this.refcounts.lower(first, count);
      if (!punch) return;
      // Only whole runs that nobody else uses; whether the host can is its business.
      for (let cluster = first; cluster < first + count; cluster++) {
        if (this.refcounts.get(cluster) !== 0) return;
      }
      this.file.discard(first * clusterSize, count * clusterSize);
    });
  }

  #setIncompatible(incompatible: bigint): void {
    this.#setFeatures(INCOMPATIBLE_AT, incompatible, () => {
      this.#header = { ...this.#header, incompatible };
    });
  }

  #setFeatures(at: number, bits: bigint, adopt: () => void): void {
    const field = new Uint8Array(8);
    new DataView(field.buffer).setBigUint64(0, bits);
    this.#writeField(at, field, adopt);
  }

  /**
   * Fields of the header lie in one sector, which storage writes whole.
   * @param adopt takes over what the file says now, whether or not it reaches stable storage
   */
  #writeField(at: number, bytes: Uint8Array, adopt: () => void): void {
    this.barrier();
    this.file.write(bytes, at);
    adopt();
    this.barrier();
  }
}
