/**
 * An image of a format that is only read. The format's own part is a table of
 * blocks and, where they are compressed, what unpacks one; all else is here.
 *
 * Data that lies in the file goes from there to where it is wanted, uncopied.
 * What the tables say is in the file and is not, because the file was cut off, is
 * an error and never zeros.
 */

import type { DiskImage, Extent } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import { clear, fill, type IoMemory } from "../disk/io-memory.ts";
import { IovCursor } from "../disk/iov-cursor.ts";
import type { HostFile } from "../sys/file.ts";
import { BlockMap, type BlockTable, UNALLOCATED } from "./block-map.ts";
import { InflatedClusters } from "./compressed.ts";
import { fileRunAt } from "./file-holes.ts";
import type { ReadOnlyFormat } from "./formats.ts";

const EROFS = -30;
/** Bytes of a block that `unpack` may give at most. */
export const MAX_PACKED_BLOCK = 2 ** 21;

/** What the last look at an image's tables found. */
export interface TableCheck {
  readonly corruptions: number;
  /** The look ended here, at something that makes the rest unreadable. */
  readonly failed: boolean;
}

/** What there is to say of a VMDK image besides its size. */
export interface VmdkDescription {
  readonly cid: number;
  readonly parentCid: number;
  readonly createType: string;
  /** Bytes. */
  readonly grainSize: number;
  readonly compressed: boolean;
}

/** What a format says of one of its images. */
export interface ReadOnlyParts {
  readonly format: ReadOnlyFormat;
  /** Bytes of the disk, a multiple of 512. */
  readonly size: number;
  readonly table: BlockTable;
  /** Bytes that are allocated as one; undefined if nothing is. */
  readonly clusterSize: number | undefined;
  /** The whole disk has its place in the file: what it does not hold are holes of the file. */
  readonly isSparselyStored?: boolean;
  /** Gives the block whose packed data begins at `host`; `length` bytes are needed of it. */
  readonly unpack?: (host: number, length: number) => Uint8Array;
  /** Looks at all tables, and reports mistakes by the line. */
  readonly check?: (report: (line: string) => void) => TableCheck;
  readonly vmdk?: VmdkDescription;
}

export class ReadOnlyImage implements DiskImage {
  readonly readOnly = true;
  readonly file: HostFile;
  readonly parts: ReadOnlyParts;
  readonly #map: BlockMap;
  readonly #cursor = new IovCursor();
  readonly #unpacked: InflatedClusters;

  /** @param file closed with the image */
  constructor(file: HostFile, parts: ReadOnlyParts) {
    this.file = file;
    this.parts = parts;
    this.#map = new BlockMap(parts.table, parts.unpack !== undefined);
    this.#unpacked = new InflatedClusters(parts.table.blockSize);
  }

  get path(): string {
    return this.file.path;
  }

  get format(): ReadOnlyFormat {
    return this.parts.format;
  }

  get size(): number {
    return this.parts.size;
  }

  get blockSize(): number {
    return Math.max(512, this.file.blockSizes.physical);
  }

  get clusterSize(): number | undefined {
    return this.parts.clusterSize;
  }

  /** Blocks are compressed. */
  get isPacked(): boolean {
    return this.parts.unpack !== undefined;
  }

  /** @throws {ImageError | SystemError} */
  extentAt(start: number, most: number): Extent {
    const { file, path, isPacked } = this;
    this.#map.lookup(start, most);
    const { host, length } = this.#map;
    const data = host >= 0;
    const place = data && !isPacked ? { path, offset: host, file } : undefined;
    const extent = { length, allocated: host !== UNALLOCATED, zero: !data, data, place };
    if (!this.parts.isSparselyStored || !data) return extent;
    const run = fileRunAt(file, host, length);
    return { ...extent, length: run.length, zero: run.hole };
  }

  /** As BlockBackend.readv. @throws {ImageError | SystemError} where the image contradicts itself. */
  readv(memory: IoMemory, iov: Float64Array, first: number, count: number, offset: number): number {
    const map = this.#map;
    const cursor = this.#cursor;
    const wanted = cursor.begin(iov, first, count);
    for (let done = 0; done < wanted; ) {
      map.lookup(offset + done, wanted - done);
      const { host, length } = map;
      cursor.take(length);
      if (host < 0) {
        clear(memory, cursor.parts, 0, cursor.count);
      } else if (this.isPacked) {
        const start = (offset + done) % map.blockSize;
        const block = this.#unpack(host, offset + done - start);
        fill(memory, cursor.parts, 0, cursor.count, block.subarray(start, start + length));
      } else {
        const got = memory.readv(this.file, cursor.parts, 0, cursor.count, host);
        if (got < 0) return got;
        if (got < length) throw this.#cutOff(offset + done + got);
      }
      done += length;
    }
    return wanted;
  }

  writev(): number {
    return EROFS;
  }

  flush(): number {
    return 0;
  }

  discard(): number {
    return EROFS;
  }

  writeZeroes(): number {
    return EROFS;
  }

  close(): void {
    this.file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #unpack(host: number, start: number): Uint8Array {
    const kept = this.#unpacked.get(host);
    const needed = Math.min(this.#map.blockSize, this.size - start);
    // A block may be used at two places of the disk, and the end of the disk need less of it.
    if (kept !== undefined && kept.length >= needed) return kept;
    const { unpack } = this.parts;
    if (unpack === undefined) throw new Error("blocks of this image are not packed");
    const block = unpack(host, needed);
    this.#unpacked.add(host, block);
    return block;
  }

  #cutOff(offset: number): ImageError {
    return new ImageError(
      this.path,
      `the file ends before what its disk has at offset ${offset}; it was cut off, copy it anew`,
    );
  }
}
