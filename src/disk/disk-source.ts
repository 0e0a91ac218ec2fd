/**
 * A disk that a program provides: in memory, behind a network, computed. Its user is
 * a guest's device, an NBD server, or `vmexit img`.
 *
 * Unlike an image it may be asynchronous: every method may return a promise.
 */

import { constants } from "node:os";
import { EIO } from "../base/errno.ts";
import { SECTOR } from "../base/units.ts";
import type { DiskFacts } from "./disk-facts.ts";

/**
 * The interface that a program implements. Offsets and lengths are bytes, multiples of
 * 512, within `size`.
 *
 * A method that throws, or whose promise is rejected, has failed: the device
 * sees an I/O error. The error's `code` ("ENOSPC") or `errno` says which one,
 * as with Node's own errors; without, it is EIO.
 *
 * Several requests may be in flight at once, and may be completed in any order.
 * Only a guest makes overlapping requests at the same time.
 */
export interface DiskSource {
  /** Bytes, a multiple of 512. Read once. */
  readonly size: number;
  /** Default: false if the disk has `write`. */
  readonly readOnly?: boolean;
  /** The preferred unit of writes in bytes: a power of two, from 512 (the default) to 64 KiB. */
  readonly blockSize?: number;
  /**
   * Fills all the views, one after the other, with the disk's bytes from `offset`
   * on. The views may be used only until the promise settles: they can be a guest's
   * memory.
   */
  read(offset: number, views: readonly Uint8Array[]): void | Promise<void>;
  /** Writes. A guest may change the contents of the views at any time: read each byte once. */
  write?(offset: number, views: readonly Uint8Array[]): void | Promise<void>;
  /** Puts completed writes on stable storage. Without this method, every write is there when it completes. */
  flush?(): void | Promise<void>;
  /** Discards the contents of a range; they are undefined afterwards. */
  discard?(offset: number, length: number): void | Promise<void>;
  /** Makes a range read as zeros; `mayUnmap` allows freeing its storage. Without this method, zeros are written. */
  writeZeroes?(offset: number, length: number, mayUnmap: boolean): void | Promise<void>;
  /**
   * How the disk is stored from `offset` on: a run of at most `length` bytes, for copies
   * of sparse disks. Without this method, everything is data.
   */
  extentAt?(offset: number, length: number): SourceExtent | Promise<SourceExtent>;
  /** Called once; there are no requests afterwards. If a guest was stopped, its requests may still be in flight. */
  close?(): void | Promise<void>;
}

/** A run of a disk that is stored in one way. */
export interface SourceExtent {
  /** Bytes, at least 512. */
  readonly length: number;
  /** True if it reads as zeros. */
  readonly zero: boolean;
  /** True if nothing is stored for it. */
  readonly hole: boolean;
}

const MAX_BLOCK = 65536;

/** Reads the properties of a source, once, checks them and adds defaults. @throws {RangeError} for an invalid size or block size */
export function sourceFacts(source: DiskSource): DiskFacts {
  const { size, blockSize = SECTOR, write } = source;
  const readOnly = source.readOnly ?? write === undefined;
  if (!Number.isSafeInteger(size) || size < 0 || size % SECTOR !== 0) {
    throw new RangeError(`a disk of ${size} bytes: the size must be a multiple of ${SECTOR}`);
  }
  if (!isPowerOfTwo(blockSize) || blockSize < SECTOR || blockSize > MAX_BLOCK) {
    throw new RangeError(
      `a disk with blocks of ${blockSize} bytes: must be a power of two from ${SECTOR} to ${MAX_BLOCK}`,
    );
  }
  if (!readOnly && write === undefined) {
    throw new RangeError("a disk that is not read-only, but has no write method");
  }
  return { size, readOnly, blockSize };
}

const ERRNO: ReadonlyMap<string, number> = new Map(Object.entries(constants.errno));
/** The kernel's limit (MAX_ERRNO, include/linux/err.h). */
const MAX_ERRNO = 4095;

/** -errno for an error of a source: by its `errno`, negative or positive; by its `code`; or -EIO. */
export function errnoOf(error: unknown): number {
  if (!(error instanceof Error)) return EIO;
  if ("errno" in error && typeof error.errno === "number") {
    const errno = Math.abs(error.errno);
    if (Number.isInteger(errno) && errno > 0 && errno <= MAX_ERRNO) return -errno;
  }
  if ("code" in error && typeof error.code === "string") {
    const errno = ERRNO.get(error.code);
    if (errno !== undefined) return -errno;
  }
  return EIO;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}
