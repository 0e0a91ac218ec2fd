/**
 * A qcow2 image that is open: the disk in it, and the parts that snapshots,
 * resizing and checking work with. Opened by open.ts.
 */

import { type DiskImage, writeDisk } from "../../disk/image.ts";
import type { IoMemory } from "../../disk/io-memory.ts";
import type { HostFile } from "../../sys/file.ts";
import { InflatedClusters } from "../compressed.ts";
import { ClusterMap, COMPRESSED, DATA, UNALLOCATED } from "./cluster-map.ts";
import { CompressedWriter } from "./compressed-writer.ts";
import { Eraser } from "./eraser.ts";
import type { Header } from "./header.ts";
import type { Metadata } from "./metadata.ts";
import { isProbablyPreallocated } from "./preallocate.ts";
import { type Layers, Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

/** A run of the disk that is stored in one way. */
export interface Extent {
  /** In the disk, bytes. */
  readonly start: number;
  readonly length: number;
  /** "backing": not in this image, so what is below shines through; zeros if nothing is. */
  readonly kind: "data" | "zero" | "compressed" | "backing";
  /** Where it lies in the file, or the data file; undefined if nowhere, or compressed. */
  readonly offset: number | undefined;
}

export class Qcow2Image implements DiskImage {
  readonly format = "qcow2";
  readonly metadata: Metadata;
  readonly map: ClusterMap;
  readonly eraser: Eraser;
  readonly backing: DiskImage | undefined;
  readonly #layers: Layers;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #compressedWriter: CompressedWriter;
  #isSparselyStored: boolean | undefined;
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

  get blockSize(): number {
    return Math.max(512, this.metadata.data.blockSizes.physical);
  }

  /** Data of the disk may be holes of the file. As it was when first asked for. */
  get isSparselyStored(): boolean {
    this.#isSparselyStored ??= isProbablyPreallocated(this.metadata);
    return this.#isSparselyStored;
  }

  readv(memory: IoMemory, iov: Float64Array, first: number, count: number, offset: number): number {
    return this.#reader.readv(memory, iov, first, count, offset);
  }

  writev(
    memory: IoMemory,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
  ): number {
    return this.#writer.writev(memory, iov, first, count, offset, dsync);
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
    return this.eraser.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    return this.eraser.writeZeroes(offset, length, mayUnmap);
  }

  /**
   * Writes one cluster compressed, or as it is if that is not smaller.
   *
   * @param bytes a whole cluster, padded with zeros at the end of the disk
   * @param offset a multiple of the cluster size
   * @throws {ImageError | SystemError}
   */
  writeCompressed(bytes: Uint8Array, offset: number): void {
    const { clusterSize } = this.metadata.geometry;
    if (bytes.length !== clusterSize || offset % clusterSize !== 0 || offset >= this.size) {
      throw new RangeError(`${bytes.length} bytes at ${offset} are not a cluster`);
    }
    if (this.#compressedWriter.write(offset / clusterSize, bytes)) return;
    const length = Math.min(clusterSize, this.size - offset);
    writeDisk(this, bytes.subarray(0, length), offset);
  }

  /** How the disk is stored from `start` on, as far as it goes on like that. @throws {ImageError | SystemError} */
  extentAt(start: number, most = this.size - start): Extent {
    const { map } = this;
    map.lookup(start, most);
    const { length, kind, host } = map;
    if (kind === DATA) return { start, length, kind: "data", offset: host };
    if (kind === COMPRESSED) return { start, length, kind: "compressed", offset: undefined };
    if (kind === UNALLOCATED) return { start, length, kind: "backing", offset: undefined };
    return { start, length, kind: "zero", offset: host === 0 ? undefined : host };
  }

  /** Brings everything to the file and lets go of it, and of the files below. @throws {SystemError} */
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
}
