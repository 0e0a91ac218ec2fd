/**
 * A qcow2 image that is open: the disk in it, and the parts that snapshots,
 * resizing and checking work with. Opened by open.ts.
 */

import type { Pieces } from "../../base/pieces.ts";
import { type DiskImage, type Extent, type ImageSnapshots, writeDisk } from "../../disk/image.ts";
import type { IoMemory } from "../../disk/io-memory.ts";
import type { HostFile } from "../../sys/file.ts";
import { InflatedClusters } from "../compressed.ts";
import { fileRunAt } from "../file-holes.ts";
import { ClusterMap, COMPRESSED, DATA, UNALLOCATED } from "./cluster-map.ts";
import { CompressedWriter } from "./compressed-writer.ts";
import { Eraser } from "./eraser.ts";
import type { Header } from "./header.ts";
import type { Metadata } from "./metadata.ts";
import type { Qcow2Parts } from "./parts.ts";
import { isProbablyPreallocated } from "./preallocate.ts";
import { type Layers, Reader } from "./reader.ts";
import { resizeQcow2 } from "./resize.ts";
import { applySnapshot, createSnapshot, deleteSnapshot, listSnapshots } from "./snapshots.ts";
import { createWithState } from "./vm-state.ts";
import { Writer } from "./writer.ts";

export class Qcow2Image implements Qcow2Parts, DiskImage {
  readonly format = "qcow2";
  readonly snapshots: ImageSnapshots = {
    list: () => listSnapshots(this),
    create: (name, state) => {
      if (state === undefined) createSnapshot(this, name);
      else createWithState(this, this.#writer, name, state);
    },
    apply: (wanted) => applySnapshot(this, wanted),
    delete: (wanted) => deleteSnapshot(this, wanted),
  };
  readonly metadata: Metadata;
  readonly map: ClusterMap;
  readonly eraser: Eraser;
  readonly backing: DiskImage | undefined;
  readonly #layers: Layers;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #compressedWriter: CompressedWriter;
  #preallocated: boolean | undefined;
  #closed = false;

  /** @param backing closed with the image */
  constructor(metadata: Metadata, backing: DiskImage | undefined) {
    this.metadata = metadata;
    this.backing = backing;
    this.map = new ClusterMap(metadata, metadata.data !== metadata.file);
    const inflated = new InflatedClusters(metadata.geometry.clusterSize);
    this.#layers = { metadata, map: this.map, backing, inflated };
    this.#reader = new Reader(this.#layers);
    this.#writer = new Writer(this.#layers);
    this.eraser = new Eraser(this.#layers, this.#writer);
    this.#compressedWriter = new CompressedWriter(this.#layers);
  }

  get file(): HostFile {
    return this.metadata.file;
  }

  get header(): Header {
    return this.metadata.header;
  }

  get path(): string {
    return this.metadata.file.path;
  }

  get size(): number {
    return this.metadata.header.size;
  }

  get readOnly(): boolean {
    return this.metadata.file.readOnly;
  }

  get clusterSize(): number {
    return this.metadata.geometry.clusterSize;
  }

  get allocationUnit(): number {
    return this.metadata.geometry.unitSize;
  }

  get blockSize(): number {
    return Math.max(512, this.metadata.data.blockSizes.physical);
  }

  readv(memory: IoMemory, pieces: Pieces, offset: number): number {
    return this.#reader.readv(memory, pieces, offset);
  }

  writev(memory: IoMemory, pieces: Pieces, offset: number, dsync: boolean): number {
    this.metadata.bitmaps?.mark(offset, pieces.bytes);
    return this.#writer.writev(memory, pieces, offset, dsync);
  }

  flush(): number {
    if (!this.readOnly) this.metadata.flush();
    return 0;
  }

  fileToFlush(): HostFile | undefined {
    const { durable, isChanged, file, data } = this.metadata;
    return !durable || this.readOnly || isChanged || data !== file ? undefined : file;
  }

  settleWith(settle: () => void): void {
    this.metadata.settleWith(settle);
  }

  discard(offset: number, length: number): number {
    this.metadata.bitmaps?.mark(offset, length);
    return this.eraser.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    this.metadata.bitmaps?.mark(offset, length);
    return this.eraser.writeZeroes(offset, length, mayUnmap);
  }

  writeCompressed(bytes: Uint8Array, offset: number): void {
    const { clusterSize } = this;
    if (bytes.length !== clusterSize || offset % clusterSize !== 0 || offset >= this.size) {
      throw new RangeError(`${bytes.length} bytes at ${offset} are not a cluster`);
    }
    this.metadata.bitmaps?.mark(offset, Math.min(clusterSize, this.size - offset));
    if (this.#compressedWriter.write(offset / clusterSize, bytes)) return;
    const length = Math.min(clusterSize, this.size - offset);
    writeDisk(this, bytes.subarray(0, length), offset);
  }

  /** @throws {ImageError | SystemError} */
  extentAt(start: number, most = this.size - start): Extent {
    const { map, metadata } = this;
    map.lookup(start, most);
    const { length, kind, host } = map;
    if (kind === UNALLOCATED) return this.#extentBelow(start, length);
    const isZero = kind !== DATA && kind !== COMPRESSED;
    const { path } = metadata.data;
    const isPlaced = kind === DATA || (isZero && host !== 0);
    const place = isPlaced ? { path, offset: host, file: metadata.data } : undefined;
    const extent = { length, allocated: true, zero: isZero, data: !isZero, place };
    if (kind !== DATA || !this.#isPreallocated()) return extent;
    // Preallocated clusters that were never written are holes of the file.
    const run = fileRunAt(metadata.data, host, length);
    return { ...extent, length: run.length, zero: run.hole };
  }

  resize(size: number): void {
    resizeQcow2(this, size);
  }

  /** Writes back everything and closes the file, and the files below. @throws {SystemError} */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (!this.readOnly) this.metadata.finish();
    } finally {
      this.metadata.data.close();
      this.metadata.file.close();
      this.backing?.close();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #extentBelow(start: number, most: number): Extent {
    const below = (this.backing?.size ?? 0) - start;
    const length = below > 0 ? Math.min(most, below) : most;
    return { length, allocated: false, zero: below <= 0, data: false, place: undefined };
  }

  /** Data of the disk may be holes of the file. As it was when first asked for. */
  #isPreallocated(): boolean {
    this.#preallocated ??= isProbablyPreallocated(this.metadata);
    return this.#preallocated;
  }
}
