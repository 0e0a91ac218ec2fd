/**
 * Changes or removes the backing file of an image.
 *
 * `rebaseImage` preserves the contents of the disk: ranges that differ in the new backing
 * file are copied into the image, and are on stable storage before the header names the
 * new file. `setBackingFile` changes only the name.
 *
 * Source: QEMU 7.2, qemu-img.c (img_rebase).
 */

import { type BlockStatus, blockStatus, layerStatus } from "../disk/block-status.ts";
import { type DiskImage, readDisk, writeDisk } from "../disk/image.ts";
import { isZero } from "../disk/zeros.ts";
import type { ImageFormat } from "../images/formats.ts";
import type { Qcow2Image } from "../images/qcow2/image.ts";

/** Bytes compared at once; no cluster is larger. */
const CHUNK = 2 ** 21;

/** A backing file as an image names it. */
export interface BackingName {
  /** Relative to the image's own folder, unless absolute. */
  readonly name: string;
  readonly format: ImageFormat;
}

/**
 * Changes or removes the name of the backing file, without a comparison of the
 * contents. An open image continues to use the old files.
 *
 * @throws {ImageError} if the name does not fit into the header; {SystemError}
 */
export function setBackingFile(image: Qcow2Image, backing: BackingName | undefined): void {
  image.metadata.setBackingFile(backing?.name, backing?.format);
}

/**
 * The same, but preserves the contents of the disk. Close the image afterwards: it still
 * uses the old file.
 *
 * @param disk the new backing file, open; undefined for none
 * @throws {ImageError} if the name does not fit into the header; {SystemError}
 */
export function rebaseImage(
  image: Qcow2Image,
  backing: BackingName | undefined,
  disk: DiskImage | undefined,
  progress?: (done: number) => void,
): void {
  image.metadata.checkBackingFile(backing?.name, backing?.format);
  new Rebase(image, disk).run(progress);
  image.flush();
  setBackingFile(image, backing);
}

class Rebase {
  readonly #image: Qcow2Image;
  readonly #below: DiskImage | undefined;
  readonly #unit: number;
  readonly #old = Buffer.alloc(CHUNK);
  readonly #new = Buffer.alloc(CHUNK);

  constructor(image: Qcow2Image, below: DiskImage | undefined) {
    this.#image = image;
    this.#below = below;
    this.#unit = image.metadata.geometry.unitSize;
  }

  run(progress: ((done: number) => void) | undefined): void {
    const { size } = this.#image;
    for (let at = 0; at < size; ) {
      const own = layerStatus(this.#image, at, size - at);
      at += own.allocated ? own.length : this.#compare(at, own.length);
      progress?.(at);
    }
  }

  /** Processes a part of the disk that is not in the image itself. Returns its length in bytes. */
  #compare(at: number, most: number): number {
    const old = blockStatus(this.#image, at, most);
    const other = this.#statusBelow(at, old.length);
    const length = this.#wholeUnits(at, Math.min(old.length, other.length));
    if (length === 0) return this.#compareBytes(at, Math.min(this.#unit - (at % this.#unit), most));
    if ((old.zero && other.zero) || isSamePlace(old, other)) return length;
    return this.#compareBytes(at, Math.min(length, CHUNK - (at % this.#unit)));
  }

  #statusBelow(at: number, most: number): BlockStatus {
    const below = this.#below;
    if (below === undefined || at >= below.size) return { ...NOTHING, start: at, length: most };
    return blockStatus(below, at, Math.min(most, below.size - at));
  }

  /** The end of a unit of the image, or of the disk: units are copied as a whole. */
  #wholeUnits(at: number, length: number): number {
    const end = at + length;
    return end === this.#image.size ? length : Math.max(0, end - (end % this.#unit) - at);
  }

  #compareBytes(at: number, length: number): number {
    const old = this.#old.subarray(0, length);
    const other = this.#new.subarray(0, length);
    readDisk(this.#image, old, at);
    this.#readBelow(other, at);
    for (let from = 0; from < length; ) {
      let to = this.#unitEnd(at, from, length);
      const same = this.#isSame(from, to);
      for (
        let next = to;
        next < length && this.#isSame(next, this.#unitEnd(at, next, length)) === same;
        next = to
      ) {
        to = this.#unitEnd(at, next, length);
      }
      if (!same) this.#keep(at + from, old.subarray(from, to));
      from = to;
    }
    return length;
  }

  #readBelow(bytes: Buffer, at: number): void {
    const there = Math.max(0, Math.min(bytes.length, (this.#below?.size ?? 0) - at));
    if (this.#below !== undefined) readDisk(this.#below, bytes.subarray(0, there), at);
    bytes.fill(0, there);
  }

  #unitEnd(at: number, from: number, length: number): number {
    return Math.min(length, from + this.#unit - ((at + from) % this.#unit));
  }

  #isSame(from: number, to: number): boolean {
    return this.#old.compare(this.#new, from, to, from, to) === 0;
  }

  /** Copies this part of the disk into the image. */
  #keep(at: number, bytes: Buffer): void {
    if (isZero(bytes) && this.#image.eraser.hide(at, bytes.length)) return;
    writeDisk(this.#image, bytes, at);
  }
}

const NOTHING = { depth: 0, allocated: false, zero: true, data: false, place: undefined };

/** True if both are the same bytes of the same file: of an image in both chains. */
function isSamePlace(one: BlockStatus, other: BlockStatus): boolean {
  return (
    one.place !== undefined && one.place.path === other.place?.path && one.place.offset === other.place.offset
  );
}
