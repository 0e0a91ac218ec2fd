/**
 * A raw disk image: byte n of the file is byte n of the disk.
 *
 * A disk has whole sectors; a file may end within a sector. The rest of that sector
 * reads as zeros, and a write to it completes the sector. If a file becomes shorter
 * while it is open, data is lost, and reads there fail.
 */

import { EINVAL, EIO, EOPNOTSUPP } from "../base/errno.ts";
import { Pieces } from "../base/pieces.ts";
import { SECTOR } from "../base/units.ts";
import type { DiskImage, Erasure, Extent } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import { BufferMemory, clear, type IoMemory } from "../disk/io-memory.ts";
import { PieceCursor } from "../disk/piece-cursor.ts";
import { ZEROS } from "../disk/zeros.ts";
import type { HostFile } from "../sys/file.ts";
import { fileRunAt } from "./file-holes.ts";
import { type Files, HOST_FILES } from "./files.ts";

export interface RawDiskOptions {
  readonly readOnly?: boolean | undefined;
  /** Without the host's page cache: as HostFileOptions. */
  readonly direct?: boolean | undefined;
  /** False: nothing waits for stable storage, not even `flush`. */
  readonly durable?: boolean | undefined;
  /** How its file is opened. */
  readonly files?: Files | undefined;
}

export class RawDisk implements DiskImage {
  readonly format = "raw";
  readonly file: HostFile;
  readonly #durable: boolean;
  readonly #cursor = new PieceCursor();
  /** What the host can do: zeros are known to be possible when they were written once. */
  readonly #erasures = new Set<Erasure>(["discard"]);
  /** Bytes of the file when it was opened or resized. */
  #fileSize: number;

  constructor(file: HostFile, { durable = true }: Pick<RawDiskOptions, "durable"> = {}) {
    this.file = file;
    this.#durable = durable;
    this.#fileSize = file.size;
  }

  /** @throws {SystemError} for a file that cannot be opened. */
  static open(path: string, options: RawDiskOptions = {}): RawDisk {
    const { readOnly = false, direct = false, durable, files = HOST_FILES } = options;
    return new RawDisk(files.open(path, { readOnly, direct }), { durable });
  }

  get size(): number {
    return Math.ceil(this.#fileSize / SECTOR) * SECTOR;
  }

  get path(): string {
    return this.file.path;
  }

  get readOnly(): boolean {
    return this.file.readOnly;
  }

  get blockSize(): number {
    return Math.max(SECTOR, this.file.blockSizes.physical);
  }

  readv(memory: IoMemory, pieces: Pieces, offset: number): number {
    const got = memory.readv(this.file, pieces, offset);
    const wanted = pieces.bytes;
    if (got < 0 || got === wanted) return got;
    if (offset + got < this.#fileSize || offset + wanted > this.size) return EIO;
    const cursor = this.#cursor;
    cursor.begin(pieces);
    cursor.take(got);
    cursor.take(wanted - got);
    clear(memory, cursor.portion);
    return wanted;
  }

  writev(memory: IoMemory, pieces: Pieces, offset: number, dsync: boolean): number {
    const done = memory.writev(this.file, pieces, offset, dsync && this.#durable);
    return done < 0 || done === pieces.bytes ? done : EIO;
  }

  flush(): number {
    return this.#durable ? this.file.flush() : 0;
  }

  fileToFlush(): HostFile | undefined {
    return this.#durable ? this.file : undefined;
  }

  fileToErase(erasure: Erasure): HostFile | undefined {
    return this.#erasures.has(erasure) && !this.file.isBlockDevice ? this.file : undefined;
  }

  discard(offset: number, length: number): number {
    return this.file.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    const result = this.file.writeZeroes(offset, length, mayUnmap);
    if (result === 0) this.#erasures.add(mayUnmap ? "unmap" : "zero");
    if (result !== EOPNOTSUPP && result !== EINVAL) return result;
    const zeros = new BufferMemory(ZEROS);
    for (let done = 0; done < length; ) {
      const part = Math.min(ZEROS.length, length - done);
      const written = this.writev(zeros, Pieces.whole(part), offset + done, false);
      if (written < 0) return written;
      done += part;
    }
    return 0;
  }

  extentAt(start: number, most: number): Extent {
    const { file, path, size } = this;
    const { hole, length } = fileRunAt(file, start, most);
    // The rest of the last sector has the status of its start.
    const end = start + length >= file.size ? Math.min(size, start + most) : start + length;
    const place = { path, offset: start, file };
    return { length: end - start, allocated: true, zero: hole, data: !hole, place };
  }

  /** The size of a block device cannot be set. If the device was resized, `size` may be its new size. */
  resize(size: number): void {
    const { file } = this;
    if (!file.isBlockDevice) file.truncate(size);
    else if (file.size !== size) {
      throw new ImageError(this.path, `a device of ${file.size} bytes cannot be made ${size} bytes long`);
    }
    this.#fileSize = size;
  }

  close(): void {
    this.file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
