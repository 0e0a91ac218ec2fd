/**
 * A raw disk image: byte n of the file is byte n of the disk.
 *
 * A disk has whole sectors, a file need not: the last sector of such a file
 * reads as zeros behind its end, and becomes whole when it is written. A file
 * that gets shorter under a running machine has lost data, and reads there fail.
 */
import { GuestMemory } from "../memory/guest-memory.ts";
import { SystemError } from "../sys/errors.ts";
import { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { type BlockBackend, EIO, EOPNOTSUPP } from "./backend.ts";
import { lockImage } from "./file-lock.ts";

const SECTOR = 512;
/** Zeros for hosts that cannot zero a range by themselves. */
const ZEROS = new Uint8Array(65536);
const EINVAL = -22;

/** A disk as its image says it is. */
export interface ImageFacts {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly blockSize: number;
}

/** The file or block device behind an image, with the RAM that it exchanges data with. As HostFile has it. */
export interface ImageFile {
  readonly size: number;
  readonly blockSize: number;
  readonly readOnly: boolean;
  readv(iov: Float64Array, first: number, count: number, offset: number): number;
  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number;
  /** Writes all of `bytes`. */
  write(bytes: Uint8Array, offset: number): number;
  flush(): number;
  discard(offset: number, length: number): number;
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number;
  close(): void;
}

export class RawImage implements BlockBackend {
  readonly size: number;
  readonly #file: ImageFile;
  readonly #memory: GuestMemory;
  /** Bytes of the file when it was opened. */
  readonly #fileSize: number;

  /** @param memory the RAM that the file's transfers reach. */
  constructor(file: ImageFile, memory: GuestMemory) {
    this.#file = file;
    this.#memory = memory;
    this.#fileSize = file.size;
    this.size = wholeSectors(file.size);
  }

  /** Opens and locks an image. @throws {SystemError} if it cannot be opened; {ImageError} if it is in use. */
  static open(
    path: string,
    { readOnly, ram }: { readonly readOnly: boolean; readonly ram: GuestRam },
  ): RawImage {
    // No regions: an image is given places in the mapping, not guest addresses.
    const file = HostFile.open(path, { readOnly });
    try {
      lockImage(file, "raw");
    } catch (error) {
      file.close();
      throw error;
    }
    return new RawImage(new RamFile(file, ram), new GuestMemory(ram, []));
  }

  /** What an image is, before there is RAM to read it into. @throws {SystemError} as `open`. */
  static describe(path: string, { readOnly }: { readonly readOnly: boolean }): ImageFacts {
    using file = HostFile.open(path, { readOnly });
    return { size: wholeSectors(file.size), blockSize: blockSizeOf(file) };
  }

  get readOnly(): boolean {
    return this.#file.readOnly;
  }

  get blockSize(): number {
    return this.#file.blockSize;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number): number {
    const wanted = bytesOf(iov, first, count);
    const result = this.#file.readv(iov, first, count, offset);
    if (result < 0 || result === wanted) return result;
    if (offset + result < this.#fileSize || offset + wanted > this.size) return EIO;
    this.#zeroBehind(result, iov, first, count);
    return wanted;
  }

  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number {
    const result = this.#file.writev(iov, first, count, offset, dsync);
    return result < 0 || result === bytesOf(iov, first, count) ? result : EIO;
  }

  flush(): number {
    return this.#file.flush();
  }

  discard(offset: number, length: number): number {
    return this.#file.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    const result = this.#file.writeZeroes(offset, length, mayUnmap);
    if (result !== EOPNOTSUPP && result !== EINVAL) return result;
    for (let done = 0; done < length; ) {
      const part = Math.min(ZEROS.length, length - done);
      const zeros = part === ZEROS.length ? ZEROS : ZEROS.subarray(0, part);
      const written = this.#file.write(zeros, offset + done);
      if (written < 0) return written;
      done += part;
    }
    return 0;
  }

  close(): void {
    this.#file.close();
  }

  /** Clears the buffers from byte `start` on: less than a sector. */
  #zeroBehind(start: number, iov: Float64Array, first: number, count: number): void {
    let before = 0;
    for (let i = first; i < first + count; i++) {
      const length = iov[2 * i + 1];
      for (let at = Math.max(0, start - before); at < length; at++) this.#memory.setUint8(iov[2 * i] + at, 0);
      before += length;
    }
  }
}

function bytesOf(iov: Float64Array, first: number, count: number): number {
  let bytes = 0;
  for (let i = first; i < first + count; i++) bytes += iov[2 * i + 1];
  return bytes;
}

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR) * SECTOR;
}

function blockSizeOf(file: HostFile): number {
  return Math.max(SECTOR, file.blockSizes.physical);
}

/** A host file together with the RAM that it exchanges data with. */
class RamFile implements ImageFile {
  readonly #file: HostFile;
  readonly #ram: GuestRam;

  constructor(file: HostFile, ram: GuestRam) {
    this.#file = file;
    this.#ram = ram;
  }

  get size(): number {
    return this.#file.size;
  }

  get blockSize(): number {
    return blockSizeOf(this.#file);
  }

  get readOnly(): boolean {
    return this.#file.readOnly;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number): number {
    return this.#file.readv(this.#ram, iov, first, count, offset);
  }

  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number {
    return this.#file.writev(this.#ram, iov, first, count, offset, dsync);
  }

  write(bytes: Uint8Array, offset: number): number {
    try {
      this.#file.write(bytes, offset);
      return bytes.length;
    } catch (error) {
      if (error instanceof SystemError) return error.errno;
      throw error;
    }
  }

  flush(): number {
    return this.#file.flush();
  }

  discard(offset: number, length: number): number {
    return this.#file.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    return this.#file.writeZeroes(offset, length, mayUnmap);
  }

  close(): void {
    this.#file.close();
  }
}
