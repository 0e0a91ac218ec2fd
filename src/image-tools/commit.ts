/**
 * Moves what an image holds into an image below it. The base is on stable
 * storage before anything is taken from the image, so a stop at any moment
 * leaves a disk that reads the same.
 *
 * Source: QEMU 7.2, qemu-img.c (img_commit): what happens to sizes is as there.
 */

import type { DiskImage } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import type { Qcow2Image } from "../images/qcow2/image.ts";
import { emptyQcow2 } from "../images/qcow2/resize.ts";
import { check } from "../sys/errors.ts";
import { copyDisk } from "./copy.ts";

export interface CommitOptions {
  /**
   * An image of its chain, opened with `writableBacking`. Default: the one right below. Images
   * between the two read differently afterwards, and are of no more use.
   */
  readonly base?: DiskImage;
  /** True: the image keeps what it holds. So it does with a base further down: it could not do without. */
  readonly keep?: boolean;
  /** As `copyDisk` takes it. */
  readonly rate?: number | undefined;
  /** Is told how many bytes of the disk are done. */
  readonly progress?: (done: number) => void;
}

/**
 * Writes to `base` whatever images above it hold, makes it as large as the disk
 * if it is smaller, and then empties `image`.
 *
 * @throws {ImageError} if there is no such base, or it is open for reading only
 * @throws {SystemError}
 */
export function commitImage(image: Qcow2Image, options: CommitOptions = {}): void {
  const { base = image.backing, rate, progress } = options;
  if (base === undefined) throw new ImageError(image.path, "Image does not have a backing file");
  if (!isBelow(image, base)) throw new ImageError(image.path, `${base.path} is not below it`);
  if (base.readOnly) throw new ImageError(base.path, "it is open for reading only");
  if (base.size < image.size) lengthen(base, image.size);
  copyDisk(image, base, {
    above: base,
    rate,
    ...(progress !== undefined && { progress }),
  });
  check(base.flush(), "fdatasync", `flushing ${base.path}`);
  if (options.keep !== true && base === image.backing) emptyQcow2(image);
}

function isBelow(image: DiskImage, wanted: DiskImage): boolean {
  for (let { backing: below } = image; below !== undefined; below = below.backing) {
    if (below === wanted) return true;
  }
  return false;
}

function lengthen(base: DiskImage, size: number): void {
  if (base.resize === undefined) {
    throw new ImageError(base.path, `it has ${base.size} bytes and cannot be given the ${size} of the disk`);
  }
  base.resize(size);
}
