/** Makes images, in place of whatever the file held before; but not of one that somebody uses. */
import { existsSync } from "node:fs";
import { EOPNOTSUPP } from "../disk/backend.ts";
import { ImageError } from "../disk/image-error.ts";
import { lockImage } from "../images/file-lock.ts";
import { type CreateOptions, createQcow2 } from "../images/qcow2/create.ts";
import type { Preallocation } from "../images/qcow2/preallocate.ts";
import { isNbdName } from "../nbd/address.ts";
import { check } from "../sys/errors.ts";
import { HostFile } from "../sys/file.ts";

const ZEROS = new Uint8Array(2 ** 20);

export type CreateImageOptions =
  | ({ readonly format: "qcow2" } & Omit<CreateOptions, "overwrite">)
  | {
      readonly format: "raw";
      /** Bytes. */
      readonly size: number;
      readonly preallocation?: Preallocation;
    };

/**
 * Makes an image and closes it.
 *
 * @throws {ImageError} for options that do not go together; if the file is an image in use
 * @throws {SystemError} if it cannot be written
 */
export function createImage(path: string, options: CreateImageOptions): void {
  if (isNbdName(path)) {
    throw new ImageError(path, "an NBD server makes no disks; convert -n writes into one that is there");
  }
  if (options.format === "qcow2") {
    const { format: _, ...rest } = options;
    const overwrite = existsSync(path);
    if (overwrite) openUnused(path).close();
    createQcow2(path, { ...rest, overwrite });
    return;
  }
  const { size, preallocation = "off" } = options;
  if (preallocation === "metadata") throw new ImageError(path, "Unsupported preallocation mode: metadata");
  using file = existsSync(path) ? openUnused(path) : HostFile.open(path, { create: true });
  if (file.isBlockDevice) {
    if (file.size < size) throw new ImageError(path, `the device has ${file.size} bytes, fewer than ${size}`);
    return;
  }
  file.truncate(0);
  lengthenRaw(file, size, preallocation);
}

/** Gives a raw file more bytes. @throws {SystemError} */
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

/** Opens a file that will be overwritten. @throws {ImageError} if somebody uses it */
function openUnused(path: string): HostFile {
  const file = HostFile.open(path);
  try {
    lockImage(file, "format");
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}
