/**
 * Puts an image on another backing file, or on none.
 *
 * `rebaseImage` keeps the disk as it is: what the new backing file has not, or
 * has differently, is copied into the image and is on stable storage before the
 * header names the new file. `setBackingFile` changes nothing but that name.
 *
 * Source: QEMU 7.2, qemu-img.c (img_rebase).
 */

import { type BlockStatus, blockStatus, layerStatus } from "../disk/block-status.ts";
import { type DiskImage, readDisk, writeDisk } from "../disk/image.ts";
import type { ImageFormat } from "../images/formats.ts";
import type { Qcow2Image } from "../images/qcow2/image.ts";
import { isZero } from "./copy.ts";

/** Bytes compared at once; no cluster is larger. */
const CHUNK = 2 ** 21;

/** A backing file as an image names it. */
export interface BackingName {
  /** Relative to the image's own folder, unless absolute. */
  readonly name: string;
  readonly format: ImageFormat;
}

/**
 * Makes an image name another backing file, or none, and believes that what is
 * there is the same. An open image goes on with the files it has.
 *
 * @throws {ImageError} if the name does not fit into the header; {SystemError}
 */
export function setBackingFile(image: Qcow2Image, backing: BackingName | undefined): void {
  image.metadata.setBackingFile(backing?.name, backing?.format);
}

/**
 * The same, but that the disk stays what it is. Close the image afterwards: it
 * still stands on the old file.
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

  /** Looks at a part of the disk that the image does not hold itself. Returns how many bytes that was. */
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

  /** Up to where a unit of the image ends, or the disk: what is copied is a whole one, so none is left half. */
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

  /** Makes the image hold what the disk has here. */
  #keep(at: number, bytes: Buffer): void {
    if (isZero(bytes) && this.#image.eraser.hide(at, bytes.length)) return;
    writeDisk(this.#image, bytes, at);
  }
}

const NOTHING = { depth: 0, allocated: false, zero: true, data: false, place: undefined };

/** Bytes of one file at one offset: an image that both stand on. */
function isSamePlace(one: BlockStatus, other: BlockStatus): boolean {
  return (
    one.place !== undefined && one.place.path === other.place?.path && one.place.offset === other.place.offset
  );
}
