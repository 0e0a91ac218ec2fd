/**
 * How a disk is stored, through all images of its chain: what `map` prints, and
 * what lets copying and comparing pass over the parts that hold nothing.
 *
 * Source: QEMU include/block/block-common.h, BDRV_BLOCK_*.
 */

import type { DiskImage } from "../disk/image.ts";
import { JoinedDisk } from "../disk/joined-disk.ts";
import { UNALLOCATED } from "../images/block-map.ts";
import { Qcow2Image } from "../images/qcow2/image.ts";
import { RawDisk } from "../images/raw-disk.ts";
import { ReadOnlyImage } from "../images/read-only-image.ts";
import { RemoteDisk } from "../nbd/remote-disk.ts";
import type { HostFile } from "../sys/file.ts";

export interface Place {
  readonly path: string;
  readonly offset: number;
  readonly file?: HostFile;
}

/** A run of a disk that is stored in one way. Offsets and lengths are bytes. */
export interface BlockStatus {
  readonly start: number;
  readonly length: number;
  /** Which image of the chain answers: 0 is the disk's own, 1 its backing file … */
  readonly depth: number;
  /** An image says what is here. False: nobody does, and it reads as zeros. */
  readonly allocated: boolean;
  readonly zero: boolean;
  /** Bytes are stored for it, of whatever value. */
  readonly data: boolean;
  /** Where it lies, unless nowhere or compressed; with the file itself if that can be read there. */
  readonly place: Place | undefined;
}

/**
 * How the disk is stored from `start` on, as far as it goes on like that and `most` bytes at most.
 *
 * @param below an image of its chain: only those above it are asked, and what none of them
 *   holds is neither allocated nor zero
 * @throws {ImageError | SystemError}
 */
export function blockStatus(disk: DiskImage, start: number, most: number, below?: DiskImage): BlockStatus {
  let length = most;
  let image = disk;
  for (let depth = 0; ; depth++) {
    const found = layerStatus(image, start, length, depth);
    if (found.allocated || found.zero) return found;
    const next = backingOf(image);
    if (next === undefined || next === below) return found;
    image = next;
    length = found.length;
  }
}

/** The same of one image alone. Neither allocated nor zero: what is below it shines through. */
export function layerStatus(image: DiskImage, start: number, most: number, depth = 0): BlockStatus {
  if (image instanceof Qcow2Image) return qcow2Status(image, start, most, depth);
  if (image instanceof RawDisk) return rawStatus(image, start, most, depth);
  if (image instanceof ReadOnlyImage) return readOnlyStatus(image, start, most, depth);
  if (image instanceof RemoteDisk) return remoteStatus(image, start, most, depth);
  if (image instanceof JoinedDisk) return joinedStatus(image, start, most);
  return { start, length: most, depth, allocated: true, zero: false, data: true, place: undefined };
}

/** The rest of a run, from `start` on. */
export function statusFrom(status: BlockStatus, start: number): BlockStatus {
  const skipped = start - status.start;
  if (skipped === 0) return status;
  const { length, place } = status;
  const moved = place && { ...place, offset: place.offset + skipped };
  return { ...status, start, length: length - skipped, place: moved };
}

export function backingOf(image: DiskImage): DiskImage | undefined {
  return image instanceof Qcow2Image ? image.backing : undefined;
}

function qcow2Status(image: Qcow2Image, start: number, most: number, depth: number): BlockStatus {
  const { kind, length, offset } = image.extentAt(start, most);
  if (kind === "backing") {
    const below = backingOf(image)?.size ?? 0;
    const covered = below > start;
    return {
      start,
      length: covered ? Math.min(length, below - start) : length,
      depth,
      allocated: false,
      zero: !covered,
      data: false,
      place: undefined,
    };
  }
  const { data } = image.metadata;
  const place = offset === undefined ? undefined : { path: data.path, offset, file: data };
  const status = {
    start,
    length,
    depth,
    allocated: true,
    zero: kind === "zero",
    data: kind !== "zero",
    place,
  };
  if (kind !== "data" || offset === undefined || !image.isSparselyStored) return status;
  // Clusters that were given a place beforehand and never written are holes of the file.
  const written = holeOrData(data.nextData(offset), () => data.nextHole(offset), offset, length);
  return { ...status, length: written.length, zero: written.hole };
}

function rawStatus({ file, path, size }: RawDisk, start: number, most: number, depth: number): BlockStatus {
  const { hole, length } = holeOrData(file.nextData(start), () => file.nextHole(start), start, most);
  // The rest of the last sector belongs to what is before it.
  const end = start + length >= file.size ? Math.min(size, start + most) : start + length;
  return {
    start,
    length: end - start,
    depth,
    allocated: true,
    zero: hole,
    data: !hole,
    place: { path, offset: start, file },
  };
}

function readOnlyStatus(image: ReadOnlyImage, start: number, most: number, depth: number): BlockStatus {
  const { file, path, isPacked } = image;
  const { host, length } = image.extentAt(start, most);
  const isStored = host >= 0;
  const status = {
    start,
    length,
    depth,
    allocated: host !== UNALLOCATED,
    zero: !isStored,
    data: isStored,
    place: isStored && !isPacked ? { path, offset: host, file } : undefined,
  };
  if (!image.parts.isSparselyStored || !isStored) return status;
  const written = holeOrData(file.nextData(host), () => file.nextHole(host), host, length);
  return { ...status, length: written.length, zero: written.hole };
}

/** Each disk answers for itself, with all images of its chain. */
function joinedStatus(disk: JoinedDisk, start: number, most: number): BlockStatus {
  const { part, base } = disk.partAt(start);
  const found = blockStatus(part, start - base, Math.min(most, base + part.size - start));
  return { ...found, start };
}

function remoteStatus(disk: RemoteDisk, start: number, most: number, depth: number): BlockStatus {
  const { length, zero, hole } = disk.extentAt(start, most);
  const place = { path: disk.path, offset: start };
  return { start, length, depth, allocated: true, zero, data: !hole, place };
}

function holeOrData(
  nextData: number,
  nextHole: () => number,
  offset: number,
  most: number,
): { readonly hole: boolean; readonly length: number } {
  if (nextData > offset) return { hole: true, length: Math.min(most, nextData - offset) };
  const end = nextHole();
  return { hole: false, length: end > offset ? Math.min(most, end - offset) : most };
}
