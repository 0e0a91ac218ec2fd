/**
 * A raw file as a disk of the library: under a qcow2 image, or to be read and
 * written by a program. src/block/raw.ts is what a guest's raw drive uses.
 *
 * Reads beyond the end of the file give zeros, as a backing file may be shorter
 * than the image over it.
 */
import { HostFile } from "../sys/file.ts";
import { EIO, EOPNOTSUPP } from "./backend.ts";
import type { DiskImage } from "./image.ts";
import { BufferMemory, clear, type IoMemory } from "./io-memory.ts";
import { IovCursor } from "./iov-cursor.ts";

const SECTOR = 512;
const EINVAL = -22;
const ZEROS = new Uint8Array(65536);

export class RawDisk implements DiskImage {
  readonly format = "raw";
  readonly file: HostFile;
  readonly size: number;
  readonly #cursor = new IovCursor();

  constructor(file: HostFile) {
    this.file = file;
    this.size = Math.ceil(file.size / SECTOR) * SECTOR;
  }

  /** @throws {SystemError} for a file that cannot be opened. */
  static open(path: string, { readOnly = false }: { readonly readOnly?: boolean } = {}): RawDisk {
    return new RawDisk(HostFile.open(path, { readOnly }));
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

  readv(memory: IoMemory, iov: Float64Array, first: number, count: number, offset: number): number {
    const got = this.file.readv(memory.io, iov, first, count, offset);
    if (got < 0) return got;
    const cursor = this.#cursor;
    const wanted = cursor.begin(iov, first, count);
    if (got === wanted) return wanted;
    cursor.take(got);
    cursor.take(wanted - got);
    clear(memory, cursor.parts, 0, cursor.count);
    return wanted;
  }

  writev(
    memory: IoMemory,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
  ): number {
    const done = this.file.writev(memory.io, iov, first, count, offset, dsync);
    return done < 0 || done === this.#cursor.begin(iov, first, count) ? done : EIO;
  }

  flush(): number {
    return this.file.flush();
  }

  discard(offset: number, length: number): number {
    return this.file.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    const result = this.file.writeZeroes(offset, length, mayUnmap);
    if (result !== EOPNOTSUPP && result !== EINVAL) return result;
    const zeros = new BufferMemory(ZEROS);
    for (let done = 0; done < length; ) {
      const part = Math.min(ZEROS.length, length - done);
      const written = this.writev(zeros, Float64Array.of(0, part), 0, 1, offset + done, false);
      if (written < 0) return written;
      done += part;
    }
    return 0;
  }

  close(): void {
    this.file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
