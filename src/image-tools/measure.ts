/**
 * How long the file of a new image will be, before there is one: for logical
 * volumes and LUNs that it is to be put in.
 *
 * Source: QEMU 7.2, block/qcow2.c (qcow2_measure, qcow2_calc_prealloc_size), so
 * that the answers are the same; docs/interop/qcow2.txt for what is counted.
 */

import { blockStatus } from "../disk/block-status.ts";
import type { DiskImage } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
import { bitmapBytes, listBitmaps } from "../images/qcow2/bitmap-directory.ts";
import { checkCreateOptions } from "../images/qcow2/create.ts";
import { geometryOf } from "../images/qcow2/geometry.ts";
import { MAX_L1_BYTES } from "../images/qcow2/header.ts";
import { Qcow2Image } from "../images/qcow2/image.ts";

/** It has no file yet. */
const NAME = "the new image";

export interface MeasureOptions {
  readonly format: "raw" | "qcow2";
  /** Bytes, a power of two from 512 to 2 MiB. Default 64 KiB. */
  readonly clusterSize?: number;
  /** A power of two from 1 to 64. Default 16. */
  readonly refcountBits?: number;
  readonly extendedL2?: boolean;
  /** 3 (the default) or 2, which has no dirty bitmaps. */
  readonly version?: 2 | 3;
  /** All of the disk will have its storage from the start, or it may need it: it depends on a backing file. */
  readonly full?: boolean;
}

/** Bytes of a file. */
export interface Measure {
  /** When it is new, with what the source holds in it. */
  readonly required: number;
  /** When all of the disk has been written to. */
  readonly fullyAllocated: number;
  /** What copies of the source's dirty bitmaps would take besides; undefined if one of the two has no such thing. */
  readonly bitmaps: number | undefined;
}

/**
 * @param disk what will be copied into the image; a number for an empty disk of so many bytes
 * @throws {ImageError} if no image can be as large; {SystemError}
 */
export function measureImage(disk: DiskImage | number, options: MeasureOptions): Measure {
  const { format, clusterSize = 65536, version = 3, full = false } = options;
  if (format === "qcow2") checkCreateOptions(NAME, options);
  const size = typeof disk === "number" ? Math.ceil(disk / 512) * 512 : disk.size;
  if (format === "raw") return { required: size, fullyAllocated: size, bitmaps: undefined };
  const data = roundUp(size, clusterSize);
  const fullyAllocated = data + tableBytes(data, options);
  const held = full ? data : typeof disk === "number" ? 0 : heldBytes(disk, clusterSize);
  const keepsBitmaps = version === 3 && disk instanceof Qcow2Image && disk.header.version === 3;
  const bitmaps = keepsBitmaps
    ? bitmapBytes(listBitmaps(disk.file, disk.header), size, clusterSize)
    : undefined;
  return { required: fullyAllocated - data + held, fullyAllocated, bitmaps };
}

/** Header, L1 and L2 tables, refcount table and blocks, if every cluster is in use. */
function tableBytes(data: number, options: MeasureOptions): number {
  const { clusterSize = 65536, refcountBits = 16, extendedL2 = false } = options;
  const { l2EntryBytes, l2Entries } = geometryOf(Math.log2(clusterSize), Math.log2(refcountBits), extendedL2);
  const l2Bytes = roundUp(data / clusterSize, l2Entries) * l2EntryBytes;
  const l1Bytes = roundUp(l2Bytes / clusterSize, clusterSize / 8) * 8;
  if (l1Bytes > MAX_L1_BYTES) {
    throw new ImageError(NAME, "The image size is too large (try using a larger cluster size)");
  }
  const tables = clusterSize + l2Bytes + l1Bytes;
  return tables + refcountBytes((tables + data) / clusterSize, clusterSize, refcountBits);
}

/** Refcounts for so many clusters, and for the clusters that they take themselves. */
function refcountBytes(clusters: number, clusterSize: number, refcountBits: number): number {
  const perBlock = (clusterSize * 8) / refcountBits;
  const perTable = clusterSize / 8;
  let own = 0;
  for (;;) {
    const blocks = Math.ceil((clusters + own) / perBlock);
    const needed = blocks + Math.ceil(blocks / perTable);
    if (needed === own) return own * clusterSize;
    own = needed;
  }
}

/** Of the clusters that hold something. */
function heldBytes(disk: DiskImage, clusterSize: number): number {
  let bytes = 0;
  for (let at = 0; at < disk.size; ) {
    const { zero, data, allocated, length } = blockStatus(disk, at, disk.size - at);
    let end = at + length;
    if (!zero && data && allocated) {
      end = roundUp(end, clusterSize);
      bytes += end - (at - (at % clusterSize));
    }
    at = end;
  }
  return bytes;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
