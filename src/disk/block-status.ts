/**
 * How a disk is stored, through all images of its chain. `map` prints this, and copying
 * and comparing skip empty parts by it.
 *
 * Source: QEMU include/block/block-common.h, BDRV_BLOCK_*.
 */
import type { DiskImage, Extent } from "./image.ts";

/** A run of a disk that is stored in one way. Offsets and lengths are bytes. */
export interface BlockStatus extends Extent {
  readonly start: number;
  /** The image of the chain that defines the run: 0 is the disk's own, 1 its backing file … */
  readonly depth: number;
}

/**
 * How the disk is stored from `start` on: one run of at most `most` bytes.
 *
 * @param below an image of its chain: only the images above it count. A run that none of
 *   them defines is neither allocated nor zero
 * @throws {ImageError | SystemError}
 */
export function blockStatus(disk: DiskImage, start: number, most: number, below?: DiskImage): BlockStatus {
  let length = most;
  let image = disk;
  for (let depth = 0; ; depth++) {
    const found = layerStatus(image, start, length, depth);
    if (found.allocated || found.zero) return found;
    const { backing } = image;
    if (backing === undefined || backing === below) return found;
    image = backing;
    length = found.length;
  }
}

/** The same of one image alone. Neither allocated nor zero: the image below defines it. */
export function layerStatus(image: DiskImage, start: number, most: number, depth = 0): BlockStatus {
  const extent = image.extentAt?.(start, most) ?? { ...DATA, length: most };
  return { ...extent, start, depth };
}

const DATA: Omit<Extent, "length"> = { allocated: true, zero: false, data: true, place: undefined };

/** The rest of a run, from `start` on. */
export function statusFrom(status: BlockStatus, start: number): BlockStatus {
  const skipped = start - status.start;
  if (skipped === 0) return status;
  const { length, place } = status;
  const moved = place && { ...place, offset: place.offset + skipped };
  return { ...status, start, length: length - skipped, place: moved };
}
