/**
 * Copies a disk to another, without ranges of zeros.
 *
 * Extents are read and written a few clusters at a time, and the next part is read
 * while one is written. Ranges that are zero in the source are not read. The rest is
 * searched for zeros in granules.
 */

import { SECTOR } from "../base/units.ts";
import { type BlockStatus, blockStatus, layerStatus, statusFrom } from "../disk/block-status.ts";
import { type DiskImage, readDisk, writeDisk } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import { isZero } from "../disk/zeros.ts";
import { check, SystemError } from "../sys/errors.ts";
import { Pace } from "./pace.ts";
import { type Part, ReadAhead } from "./read-ahead.ts";

/** Bytes moved at once; no cluster is larger. */
const CHUNK = 2 ** 21;

export interface CopyOptions {
  /** The first byte of the source that is copied. Default 0. */
  readonly start?: number;
  /** The number of bytes to copy. Default: all from `start` on. */
  readonly length?: number;
  /** The offset of the first byte in the target. Default 0. */
  readonly targetOffset?: number;
  /** The smallest range of zeros that is not written, a multiple of 512 bytes; 0 writes every byte. Default 4096. */
  readonly sparse?: number;
  /** The whole target reads as zeros, so zeros need not be written. */
  readonly targetIsZero?: boolean;
  /** Writes compressed clusters; for qcow2 targets without data in the written range. */
  readonly compressed?: boolean;
  /** The target's backing file has this many bytes, and the contents below the source's own image, which are not copied. */
  readonly sharedBytes?: number;
  /** An image of the source's chain: only the contents of the images above it are copied. */
  readonly above?: DiskImage;
  /**
   * Called for each sector of the source that cannot be read: zeros are copied instead. Without it the
   * first such sector ends the copy.
   */
  readonly unreadable?: (offset: number, error: Error) => void;
  /** The limit of data per second, in bytes. */
  readonly rate?: number | undefined;
  /** Called with the number of processed bytes. */
  readonly progress?: (done: number) => void;
}

/**
 * Copies `source`, or a part of it. The target has room for that.
 * @throws {ImageError | SystemError}
 */
export function copyDisk(source: DiskImage, target: DiskImage, options: CopyOptions = {}): void {
  new Copy(source, target, options).run();
}

class Copy {
  readonly #source: DiskImage;
  readonly #target: DiskImage;
  readonly #options: CopyOptions;
  readonly #start: number;
  readonly #end: number;
  /** The difference of a byte's offsets in target and source. */
  readonly #base: number;
  /** The granule of the search for zeros, in bytes. */
  readonly #granule: number;
  readonly #buffer = Buffer.alloc(CHUNK);
  /** The last extent that was looked up. */
  #status: BlockStatus | undefined;
  readonly #pace: Pace | undefined;

  constructor(source: DiskImage, target: DiskImage, options: CopyOptions) {
    this.#source = source;
    this.#target = target;
    this.#options = options;
    const { start = 0, length = source.size - start, targetOffset = 0 } = options;
    this.#start = start;
    this.#end = start + length;
    this.#base = targetOffset - start;
    // A part of a cluster costs as much as a whole one, and more if the rest has to be cleared.
    const unit = target.allocationUnit ?? 512;
    this.#granule = Math.min(CHUNK, Math.max(unit, options.sparse ?? 4096));
    this.#pace = options.rate === undefined ? undefined : new Pace(options.rate);
  }

  run(): void {
    using _ = this.#pace;
    const { compressed, progress } = this.#options;
    if (!compressed) {
      this.#copyExtents();
      return;
    }
    for (let at = this.#start; at < this.#end; ) {
      at = this.#compressChunk(at);
      progress?.(at - this.#start);
    }
  }

  /** The next part is read while one is written. */
  #copyExtents(): void {
    const { progress } = this.#options;
    const read = (bytes: Buffer, at: number) => this.#read(bytes, at);
    const prefetch = (at: number, length: number) => this.#source.prefetch?.(at, length);
    using source = new ReadAhead({ read, prefetch }, CHUNK);
    let next: Part | undefined;
    for (let part = this.#nextPart(this.#start); part !== undefined; part = next) {
      const bytes = source.read(part);
      next = this.#nextPart(part.start + part.length);
      if (next !== undefined) source.prepare(next);
      this.#write(part.start, bytes);
      this.#pace?.moved(bytes.length);
      progress?.(part.start + part.length - this.#start);
    }
    progress?.(this.#end - this.#start);
  }

  /** How the source is stored from `at` on. The answer is reused for its whole run, because finding the next hole is slow. */
  #statusAt(at: number): BlockStatus {
    if (this.#status === undefined || this.#status.start + this.#status.length <= at) {
      const most = this.#end - at;
      const { sharedBytes, above } = this.#options;
      this.#status =
        sharedBytes === undefined
          ? blockStatus(this.#source, at, most, above)
          : layerStatus(this.#source, at, most);
    }
    return statusFrom(this.#status, at);
  }

  /** The next data to copy from `at` on. Zeros before it are cleared, and other ranges are skipped. */
  #nextPart(at: number): Part | undefined {
    for (let start = at; start < this.#end; ) {
      const status = this.#statusAt(start);
      if (status.zero && this.#options.sparse !== 0) this.#zeros(start, status.length);
      else if (status.allocated || status.zero) {
        // Ends at a granule of the target, so that ranges of zeros are not divided.
        const length = Math.min(status.length, CHUNK - ((this.#base + start) % this.#granule));
        return { start, length, place: status.zero ? undefined : status.place };
      }
      start += status.length;
    }
    return undefined;
  }

  #read(bytes: Buffer, at: number): void {
    const { unreadable } = this.#options;
    try {
      readDisk(this.#source, bytes, at);
    } catch (error) {
      if (unreadable === undefined || !isOfSource(error)) throw error;
      if (bytes.length > SECTOR) {
        for (let from = 0; from < bytes.length; from += SECTOR) {
          this.#read(bytes.subarray(from, from + SECTOR), at + from);
        }
        return;
      }
      unreadable(at, error);
      bytes.fill(0);
    }
  }

  #write(at: number, bytes: Buffer): void {
    if (this.#options.sparse === 0) {
      writeDisk(this.#target, bytes, this.#base + at);
      return;
    }
    for (let from = 0; from < bytes.length; ) {
      const zero = this.#isZero(at, bytes, from);
      let to = this.#granuleEnd(at, bytes, from);
      while (to < bytes.length && this.#isZero(at, bytes, to) === zero) to = this.#granuleEnd(at, bytes, to);
      if (zero) this.#zeros(at + from, to - from);
      else writeDisk(this.#target, bytes.subarray(from, to), this.#base + at + from);
      from = to;
    }
  }

  #granuleEnd(at: number, bytes: Buffer, from: number): number {
    const granule = this.#granule;
    return Math.min(bytes.length, from + granule - ((this.#base + at + from) % granule));
  }

  #isZero(at: number, bytes: Buffer, from: number): boolean {
    // In most data the first byte shows that it is not zeros.
    return bytes[from] === 0 && isZero(bytes.subarray(from, this.#granuleEnd(at, bytes, from)));
  }

  #zeros(at: number, length: number): void {
    const { targetIsZero, sharedBytes } = this.#options;
    const start = this.#base + at;
    // Behind the end of the disk below, everything reads as zeros anyway.
    const end =
      targetIsZero && sharedBytes !== undefined ? Math.min(start + length, sharedBytes) : start + length;
    if ((targetIsZero && sharedBytes === undefined) || end <= start) return;
    const result = this.#target.writeZeroes(start, end - start, true);
    check(result, "fallocate", `clearing ${this.#target.path} at ${start}`);
  }

  /** Copies whole clusters, of any extents. Returns the start of the next one. */
  #compressChunk(at: number): number {
    const target = this.#target;
    const { clusterSize } = target;
    if (clusterSize === undefined || target.writeCompressed === undefined) {
      throw new RangeError(`${target.format} has no compression`);
    }
    const start = this.#base + at;
    if (start % clusterSize !== 0) throw new RangeError(`no cluster begins at ${start}`);
    const status = this.#statusAt(at);
    const end = this.#end;
    const whole = at + status.length === end ? status.length : status.length - (status.length % clusterSize);
    const nothing = status.zero ? this.#options.sparse !== 0 : !status.allocated;
    if (nothing && whole > 0) {
      if (status.zero) this.#zeros(at, whole);
      return at + whole;
    }
    const length = Math.min(clusterSize, end - at);
    const bytes = this.#buffer.subarray(0, clusterSize).fill(0, length);
    this.#read(bytes.subarray(0, length), at);
    if (this.#options.sparse !== 0 && isZero(bytes)) this.#zeros(at, length);
    else target.writeCompressed(bytes, start);
    this.#pace?.moved(length);
    return at + length;
  }
}

function isOfSource(error: unknown): error is Error {
  return error instanceof SystemError || error instanceof ImageError;
}
