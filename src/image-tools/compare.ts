/** Finds the first difference of two disks. Ranges that are zero in both are not read. */

import { SECTOR } from "../base/units.ts";
import { type BlockStatus, blockStatus } from "../disk/block-status.ts";
import { type DiskImage, readDisk } from "../disk/image.ts";
import { isZero } from "../disk/zeros.ts";

const CHUNK = 2 ** 20;

export interface Difference {
  /** "status": the bytes are the same (as far as known), but stored differently. */
  readonly kind: "content" | "status";
  /** Bytes; for contents, of the first sector that differs. */
  readonly offset: number;
}

export interface CompareOptions {
  /** A range that is stored differently is a difference, too. */
  readonly strict?: boolean;
  /** Called with the number of processed bytes. */
  readonly progress?: (done: number) => void;
}

/**
 * The first difference, or undefined. Of disks of different sizes the longer one
 * has to end in zeros. @throws {ImageError | SystemError}
 */
export function compareDisks(
  one: DiskImage,
  other: DiskImage,
  { strict = false, progress }: CompareOptions = {},
): Difference | undefined {
  const common = Math.min(one.size, other.size);
  for (let at = 0; at < common; ) {
    const first = blockStatus(one, at, common - at);
    const second = blockStatus(other, at, first.length);
    const length = Math.min(first.length, second.length);
    if (strict && !isStoredAlike(first, second)) return { kind: "status", offset: at };
    const offset = firstDifference(one, first, other, second, length);
    if (offset !== undefined) return { kind: "content", offset };
    at += length;
    progress?.(at);
  }
  const longer = one.size > other.size ? one : other;
  for (let at = common; at < longer.size; ) {
    const status = blockStatus(longer, at, longer.size - at);
    const offset = status.zero ? undefined : firstData(longer, at, status.length);
    if (offset !== undefined) return { kind: "content", offset };
    at += status.length;
    progress?.(at);
  }
  return undefined;
}

function isStoredAlike(one: BlockStatus, other: BlockStatus): boolean {
  const hasPlace = ({ place }: BlockStatus) => place !== undefined;
  return (
    one.zero === other.zero &&
    one.data === other.data &&
    one.allocated === other.allocated &&
    hasPlace(one) === hasPlace(other)
  );
}

function firstDifference(
  one: DiskImage,
  first: BlockStatus,
  other: DiskImage,
  second: BlockStatus,
  length: number,
): number | undefined {
  const at = first.start;
  if (first.zero && second.zero) return undefined;
  if (first.zero) return firstData(other, at, length);
  if (second.zero) return firstData(one, at, length);
  const a = Buffer.alloc(Math.min(CHUNK, length));
  const b = Buffer.alloc(a.length);
  for (let done = 0; done < length; done += CHUNK) {
    const part = Math.min(CHUNK, length - done);
    readDisk(one, a.subarray(0, part), at + done);
    readDisk(other, b.subarray(0, part), at + done);
    if (a.compare(b, 0, part, 0, part) === 0) continue;
    for (let sector = 0; ; sector += SECTOR) {
      const end = Math.min(part, sector + SECTOR);
      if (a.compare(b, sector, end, sector, end) !== 0) return at + done + sector;
    }
  }
  return undefined;
}

/** The first sector of a range that is not all zeros. */
function firstData(disk: DiskImage, at: number, length: number): number | undefined {
  const bytes = Buffer.alloc(Math.min(CHUNK, length));
  for (let done = 0; done < length; done += CHUNK) {
    const chunk = bytes.subarray(0, Math.min(CHUNK, length - done));
    readDisk(disk, chunk, at + done);
    if (isZero(chunk)) continue;
    for (let sector = 0; ; sector += SECTOR) {
      if (!isZero(chunk.subarray(sector, sector + SECTOR))) return at + done + sector;
    }
  }
  return undefined;
}
