/**
 * Keeps two programs from writing to one image, together with QEMU: the same
 * bytes of the file are locked, in the same way, so that each sees the other.
 *
 * A program uses a set of permissions on an image, and allows others a set of
 * permissions. A program that uses permission n locks byte 100 + n; one that does not
 * allow it locks byte 200 + n. All locks are shared locks; a conflict is detected by
 * testing for locks of others.
 *
 * Source: QEMU block/file-posix.c (raw_apply_lock_bytes) and
 * include/block/block-common.h (BLK_PERM_*); F_OFD_SETLK in fcntl(2).
 */

import { ImageInUseError } from "../disk/image-error.ts";
import { SystemError } from "../sys/errors.ts";
import type { HostFile } from "../sys/file.ts";

const PERM_BASE = 100;
const SHARED_BASE = 200;

/** Permissions by their bit. WRITE_UNCHANGED (2) is neither used nor refused here. */
const CONSISTENT_READ = 0;
const WRITE = 1;
const RESIZE = 3;
const NAMES = new Map([
  [CONSISTENT_READ, "consistent read"],
  [WRITE, "write"],
  [RESIZE, "resize"],
]);

/** How an image is used: "format" reads its metadata, so others must not change even its length. */
export type ImageUse = "format" | "raw";

/**
 * Locks an image until its file is closed. Does nothing where the file system
 * has no such locks.
 *
 * @throws {ImageInUseError} if another program uses it in a conflicting way.
 */
export function lockImage(file: HostFile, use: ImageUse): void {
  const uses = [CONSISTENT_READ];
  if (!file.readOnly) uses.push(WRITE);
  if (!file.readOnly && use === "format") uses.push(RESIZE);
  const refuses = use === "format" ? [WRITE, RESIZE] : [WRITE];
  try {
    for (const bit of uses) take(file, PERM_BASE + bit, bit);
    for (const bit of refuses) take(file, SHARED_BASE + bit, bit);
    // Both programs have locked before they test, so at least one of them detects the other.
    for (const bit of uses) if (file.byteIsLocked(SHARED_BASE + bit)) inUse(file, bit, "does not share");
    for (const bit of refuses) if (file.byteIsLocked(PERM_BASE + bit)) inUse(file, bit, "uses");
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
  }
}

function take(file: HostFile, byte: number, bit: number): void {
  if (!file.lockByte(byte, true)) inUse(file, bit, "holds");
}

function inUse(file: HostFile, bit: number, does: string): never {
  const lock = `${does === "does not share" ? "" : "shared "}"${NAMES.get(bit)}" lock`;
  throw new ImageInUseError(
    file.path,
    lock,
    `another program is using it (it ${does} its "${NAMES.get(bit)}" lock); end that one first, or open the image read-only without locks`,
  );
}
