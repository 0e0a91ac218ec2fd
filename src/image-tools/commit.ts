/**
 * Moves the contents of an image into an image below it. The base is on stable storage
 * before anything is removed from the image, so a stop at any moment leaves a disk with
 * the same contents.
 *
 * Source: QEMU 7.2, qemu-img.c (img_commit), with the same rules for sizes.
 */

import type { DiskImage } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import type { Qcow2Image } from "../images/qcow2/image.ts";
import { emptyQcow2 } from "../images/qcow2/resize.ts";
import { check } from "../sys/errors.ts";
import { copyDisk } from "./copy.ts";

export interface CommitOptions {
  /**
   * An image of its chain, opened with `writableBacking`. Default: the one directly below. The
   * contents of images between the two change, so those cannot be used afterwards.
   */
  readonly base?: DiskImage;
  /** True: the image is not emptied. With a base further down it never is, because it would lose its contents. */
  readonly keep?: boolean;
  /** As in `copyDisk`. */
  readonly rate?: number | undefined;
  /** Called with the number of processed bytes of the disk. */
  readonly progress?: (done: number) => void;
}

/**
 * Writes the contents of the images above `base` to it, enlarges it to the size of the
 * disk if it is smaller, and then empties `image`.
 *
 * @throws {ImageError} if there is no such base, or it is open read-only
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
    throw new ImageError(
      base.path,
      `it has ${base.size} bytes and cannot be enlarged to the ${size} of the disk`,
    );
  }
  base.resize(size);
}
