/**
 * Which file a drive's data was in, and in which state: a guest that continues
 * over another one finds its file system different from what it remembers.
 *
 * Size, time of change and a checksum of the beginning, where formats and file
 * systems have their metadata. A copy that keeps the time is the same.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { crc32 } from "node:zlib";
import { KIB } from "../base/units.ts";

export interface FileIdentity {
  /** Absolute. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Nanoseconds since 1970-01-01 UTC, in decimal. */
  readonly changed: string;
  /** Of the first 64 KiB. */
  readonly head: number;
}

const HEAD_BYTES = 64 * KIB;

/** @throws {Error} of Node for a file that cannot be read */
export function identify(path: string): FileIdentity {
  const { size, mtimeNs } = statSync(path, { bigint: true });
  const head = new Uint8Array(HEAD_BYTES);
  const fd = openSync(path, "r");
  try {
    const read = readSync(fd, head, 0, HEAD_BYTES, 0);
    const sum = crc32(head.subarray(0, read));
    return { path: resolve(path), size: Number(size), changed: String(mtimeNs), head: sum };
  } finally {
    closeSync(fd);
  }
}

/** How a file differs from what it was, as a phrase; undefined if it does not. */
export function differenceOf(then: FileIdentity, now: FileIdentity): string | undefined {
  if (now.size !== then.size) return `it has ${now.size} bytes, and had ${then.size}`;
  if (now.head !== then.head) return "its first bytes are not those that it had";
  if (now.changed !== then.changed) {
    return `it was written at ${timeOf(now)}, and had last been written at ${timeOf(then)}`;
  }
  return undefined;
}

function timeOf({ changed }: FileIdentity): string {
  return new Date(Number(BigInt(changed) / 1_000_000n)).toISOString();
}
