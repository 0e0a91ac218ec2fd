/** Makes images, and replaces the old contents of a file, unless it is in use. */

import { EOPNOTSUPP } from "../base/errno.ts";
import { SECTOR } from "../base/units.ts";
import { ImageError } from "../disk/image-error.ts";
import { ZEROS } from "../disk/zeros.ts";
import { fileNamed } from "../images/file-name.ts";
import { makeFile } from "../images/made-file.ts";
import { type CreateOptions, createQcow2, type MadeImage } from "../images/qcow2/create.ts";
import type { Preallocation } from "../images/qcow2/preallocate.ts";
import { isNbdName } from "../nbd/address.ts";
import { check } from "../sys/errors.ts";
import type { HostFile } from "../sys/file.ts";

export type CreateImageOptions =
  | ({ readonly format: "qcow2" } & Omit<CreateOptions, "overwrite">)
  | {
      readonly format: "raw";
      /** Bytes of the disk, rounded up to sectors of 512. */
      readonly size: number;
      readonly preallocation?: Preallocation;
    };

/**
 * Makes an image and closes it. If that fails, no partial image remains: a new file is
 * removed, and an old one is empty.
 *
 * @throws {ImageError} for conflicting options; if the file is an image in use
 * @throws {SystemError} if it cannot be written
 */
export function createImage(name: string, options: CreateImageOptions): MadeImage {
  if (isNbdName(name)) {
    throw new ImageError(name, "an NBD server cannot make disks; convert -n writes to an existing one");
  }
  const path = fileNamed(name);
  if (options.format === "qcow2") {
    const { format: _, ...rest } = options;
    return createQcow2(path, { ...rest, overwrite: true });
  }
  const { preallocation = "off" } = options;
  const size = Math.ceil(options.size / SECTOR) * SECTOR;
  if (preallocation === "metadata") throw new ImageError(path, "Unsupported preallocation mode: metadata");
  const { file, undo } = makeFile(path, true);
  using _ = file;
  if (file.isBlockDevice) {
    if (file.size < size) throw new ImageError(path, `the device has ${file.size} bytes, fewer than ${size}`);
    return { undo };
  }
  try {
    file.truncate(0);
    lengthenRaw(file, size, preallocation);
    return { undo };
  } catch (error) {
    undo();
    throw error;
  }
}

/** Enlarges a raw file. @throws {SystemError} */
export function lengthenRaw(file: HostFile, size: number, preallocation: Preallocation): void {
  const before = file.size;
  file.truncate(size);
  if (preallocation === "off" || size === before) return;
  const reserved = preallocation === "falloc" ? file.allocate(before, size - before) : EOPNOTSUPP;
  if (reserved !== EOPNOTSUPP) {
    check(reserved, "fallocate", `reserving storage for ${file.path}`);
    return;
  }
  for (let at = before; at < size; at += ZEROS.length) {
    file.write(ZEROS.subarray(0, Math.min(ZEROS.length, size - at)), at);
  }
}
