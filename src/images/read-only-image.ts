/**
 * An image of a read-only format. The format provides a table of blocks and, for
 * compressed blocks, a function that unpacks one; everything else is here.
 *
 * Data in the file is read directly into the destination. A block that is not in the
 * file although a table refers to it, because the file was truncated, is an error and
 * never reads as zeros.
 */

import type { Pieces } from "../base/pieces.ts";
import type { DiskImage, Extent } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import { clear, fill, type IoMemory } from "../disk/io-memory.ts";
import { PieceCursor } from "../disk/piece-cursor.ts";
import { ReadOnlyDisk } from "../disk/read-only-disk.ts";
import type { HostFile } from "../sys/file.ts";
import { BlockMap, type BlockTable, UNALLOCATED } from "./block-map.ts";
import { InflatedClusters } from "./compressed.ts";
import { fileRunAt } from "./file-holes.ts";
import type { ReadOnlyFormat } from "./formats.ts";

/** The largest block that `unpack` may return, in bytes. */
export const MAX_PACKED_BLOCK = 2 ** 21;

/** The result of the last check of an image's tables. */
export interface TableCheck {
  readonly corruptions: number;
  /** The check ended here, because the rest is unreadable. */
  readonly failed: boolean;
}

/** The properties of a VMDK image besides its size. */
export interface VmdkDescription {
  readonly cid: number;
  readonly parentCid: number;
  readonly createType: string;
  /** Bytes. */
  readonly grainSize: number;
  readonly compressed: boolean;
}

/** The format's description of an image. */
export interface ReadOnlyParts {
  readonly format: ReadOnlyFormat;
  /** Bytes of the disk, a multiple of 512. */
  readonly size: number;
  readonly table: BlockTable;
  /** The unit of allocation in bytes; undefined if there is none. */
  readonly clusterSize: number | undefined;
  /** The whole disk has a place in the file: unallocated parts are holes of the file. */
  readonly isSparselyStored?: boolean;
  /** Returns the block whose packed data begins at `host`, at least its first `length` bytes. */
  readonly unpack?: (host: number, length: number) => Uint8Array;
  /** Checks all tables, and reports each error in a line. */
  readonly check?: (report: (line: string) => void) => TableCheck;
  readonly vmdk?: VmdkDescription;
}

export class ReadOnlyImage extends ReadOnlyDisk implements DiskImage {
  readonly file: HostFile;
  readonly parts: ReadOnlyParts;
  readonly #map: BlockMap;
  readonly #cursor = new PieceCursor();
  readonly #unpacked: InflatedClusters;

  /** @param file closed with the image */
  constructor(file: HostFile, parts: ReadOnlyParts) {
    super();
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
  readv(memory: IoMemory, pieces: Pieces, offset: number): number {
    const map = this.#map;
    const cursor = this.#cursor;
    const wanted = cursor.begin(pieces);
    for (let done = 0; done < wanted; ) {
      map.lookup(offset + done, wanted - done);
      const { host, length } = map;
      cursor.take(length);
      if (host < 0) {
        clear(memory, cursor.portion);
      } else if (this.isPacked) {
        const start = (offset + done) % map.blockSize;
        const block = this.#unpack(host, offset + done - start);
        fill(memory, cursor.portion, block.subarray(start, start + length));
      } else {
        const got = memory.readv(this.file, cursor.portion, host);
        if (got < 0) return got;
        if (got < length) throw this.#cutOff(offset + done + got);
      }
      done += length;
    }
    return wanted;
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
    // A block may be used at two places of the disk, and the end of the disk may need less of it.
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
