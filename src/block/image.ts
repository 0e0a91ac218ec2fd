/**
 * A disk in an image of any format, and the two ways to use one: a guest's
 * (BlockBackend, results and -errno) and a program's (bytes, exceptions).
 */
import { check, SystemError } from "../sys/errors.ts";
import { type BlockBackend, EIO } from "./backend.ts";
import { ImageError } from "./image-error.ts";
import { BufferMemory, type IoMemory } from "./io-memory.ts";

/**
 * What every format offers. Results are as with BlockBackend, but that an image
 * may throw a SystemError or an ImageError where its own tables are in the way.
 * Ranges lie within `size`.
 */
export interface DiskImage {
  readonly path: string;
  /** "raw", "qcow2" … */
  readonly format: string;
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Bytes that the host's storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
  readv(memory: IoMemory, iov: Float64Array, first: number, count: number, offset: number): number;
  writev(
    memory: IoMemory,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
  ): number;
  flush(): number;
  discard(offset: number, length: number): number;
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number;
  /** Brings everything to the file and lets go of it. @throws if that fails; it is closed then, too. */
  close(): void;
}

/** Fills `bytes` with what the disk has from `offset` on. @throws {SystemError | ImageError} */
export function readDisk(image: DiskImage, bytes: Uint8Array, offset: number): void {
  if (bytes.length === 0) return;
  const pair = Float64Array.of(0, bytes.length);
  const result = image.readv(new BufferMemory(bytes), pair, 0, 1, offset);
  check(result, "pread", `reading ${image.path} at ${offset}`);
}

/** Writes all of `bytes`. @throws {SystemError | ImageError} */
export function writeDisk(image: DiskImage, bytes: Uint8Array, offset: number): void {
  if (bytes.length === 0) return;
  const pair = Float64Array.of(0, bytes.length);
  const result = image.writev(new BufferMemory(bytes), pair, 0, 1, offset, false);
  check(result, "pwrite", `writing ${image.path} at ${offset}`);
}

/** An image as a guest's disk. */
export class GuestDisk implements BlockBackend {
  readonly #image: DiskImage;
  readonly #memory: IoMemory;

  /** @param memory what the offsets in `iov` mean. */
  constructor(image: DiskImage, memory: IoMemory) {
    this.#image = image;
    this.#memory = memory;
  }

  get size(): number {
    return this.#image.size;
  }

  get readOnly(): boolean {
    return this.#image.readOnly;
  }

  get blockSize(): number {
    return this.#image.blockSize;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number): number {
    try {
      return this.#image.readv(this.#memory, iov, first, count, offset);
    } catch (error) {
      return resultOf(error);
    }
  }

  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number {
    try {
      return this.#image.writev(this.#memory, iov, first, count, offset, dsync);
    } catch (error) {
      return resultOf(error);
    }
  }

  flush(): number {
    try {
      return this.#image.flush();
    } catch (error) {
      return resultOf(error);
    }
  }

  discard(offset: number, length: number): number {
    try {
      return this.#image.discard(offset, length);
    } catch (error) {
      return resultOf(error);
    }
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    try {
      return this.#image.writeZeroes(offset, length, mayUnmap);
    } catch (error) {
      return resultOf(error);
    }
  }

  close(): void {
    this.#image.close();
  }
}

/** What a failure of the image looks like to a guest. Anything else is our bug and stays an exception. */
function resultOf(error: unknown): number {
  if (error instanceof SystemError) return error.errno;
  if (error instanceof ImageError) return EIO;
  throw error;
}
