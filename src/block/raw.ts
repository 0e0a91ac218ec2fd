/**
 * A raw disk image: byte n of the file is byte n of the disk.
 *
 * A disk has whole sectors, a file need not: the last sector of such a file
 * reads as zeros behind its end, and becomes whole when it is written. A file
 * that gets shorter under a running machine has lost data, and reads there fail.
 */
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type BlockBackend, EIO, EOPNOTSUPP } from "./backend.ts";

const SECTOR = 512;
/** Zeros for hosts that cannot zero a range by themselves. */
const ZEROS = new Uint8Array(65536);
const EINVAL = -22;

/**
 * The file or block device behind an image. All results are >= 0 or -errno;
 * transfers return fewer bytes than were asked for only at the end of the file.
 */
export interface ImageFile {
  /** Bytes. */
  readonly size: number;
  readonly blockSize: number;
  readonly readOnly: boolean;
  /** @param iov pairs of RAM offset and length; `first` and `count` in pairs. */
  preadv(iov: Float64Array, first: number, count: number, offset: number): number;
  pwritev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number;
  pwrite(bytes: Uint8Array, offset: number): number;
  fdatasync(): number;
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
    this.size = Math.ceil(file.size / SECTOR) * SECTOR;
  }

  get readOnly(): boolean {
    return this.#file.readOnly;
  }

  get blockSize(): number {
    return this.#file.blockSize;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number): number {
    const wanted = bytesOf(iov, first, count);
    const result = this.#file.preadv(iov, first, count, offset);
    if (result < 0 || result === wanted) return result;
    if (offset + result < this.#fileSize || offset + wanted > this.size) return EIO;
    this.#zeroBehind(result, iov, first, count);
    return wanted;
  }

  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number {
    const result = this.#file.pwritev(iov, first, count, offset, dsync);
    return result < 0 || result === bytesOf(iov, first, count) ? result : EIO;
  }

  flush(): number {
    return this.#file.fdatasync();
  }

  discard(offset: number, length: number): number {
    return this.#file.discard(offset, length);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    const result = this.#file.writeZeroes(offset, length, mayUnmap);
    if (result !== EOPNOTSUPP && result !== EINVAL) return result;
    for (let done = 0; done < length; ) {
      const part = Math.min(ZEROS.length, length - done);
      const written = this.#file.pwrite(
        part === ZEROS.length ? ZEROS : ZEROS.subarray(0, part),
        offset + done,
      );
      if (written !== part) return written < 0 ? written : EIO;
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
