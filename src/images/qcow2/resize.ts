/**
 * Makes the disk in an image larger or smaller. Every step leaves a consistent image;
 * the size in the header changes while the tables fit both sizes.
 *
 * Source: QEMU docs/interop/qcow2.txt; the rules are those of `qemu-img resize`.
 */

import { ImageError } from "../../disk/image-error.ts";
import { check } from "../../sys/errors.ts";
import { MAX_L1_BYTES } from "./header.ts";
import type { Qcow2Parts } from "./parts.ts";
import { PointerTable } from "./pointer-table.ts";
import { type Preallocation, preallocate } from "./preallocate.ts";

/**
 * @param size bytes, a multiple of 512
 * @param preallocation for the new part
 * @throws {ImageError} if the format has no room for it, or a version 2 image has snapshots
 * @throws {SystemError}
 */
export function resizeQcow2(image: Qcow2Parts, size: number, preallocation: Preallocation = "off"): void {
  const { metadata } = image;
  const before = image.size;
  if (size % 512 !== 0) throw new RangeError(`a disk of ${size} bytes has no whole sectors`);
  if (image.header.snapshots > 0 && image.header.version === 2) {
    throw new ImageError(image.path, "an image of version 2 that has snapshots cannot be resized");
  }
  if (size < before && preallocation !== "off") throw new RangeError("a smaller disk needs no storage");
  metadata.beginCounting();
  metadata.flush();
  withBitmaps(image, () => {
    if (size > before) {
      ensureL1(image, Math.ceil(size / metadata.geometry.l2Coverage));
      clearNew(image, before, size);
      grow(image, size, preallocation);
    } else if (size < before) {
      shrink(image, size, before);
    }
    metadata.flush();
  });
}

/** Does what may change the size of the disk; dirty bitmaps fit it afterwards. */
export function withBitmaps({ metadata }: Qcow2Parts, change: () => void): void {
  const { bitmaps } = metadata;
  bitmaps?.beginResize();
  try {
    change();
  } finally {
    bitmaps?.endResize();
  }
}

/** Makes a disk larger; the new part has the contents of the backing file. @throws {ImageError | SystemError} */
export function grow(image: Qcow2Parts, size: number, preallocation: Preallocation): void {
  const { metadata } = image;
  const { data, file, geometry } = metadata;
  const before = image.size;
  metadata.beginCounting();
  ensureL1(image, Math.ceil(size / geometry.l2Coverage));
  metadata.flush();
  metadata.setSize(size);
  if (data !== file && !data.isBlockDevice && data.size < size) data.truncate(size);
  preallocate(image, before, size, preallocation);
}

/** Gives the active L1 table at least `entries` entries. @throws {ImageError | SystemError} */
export function ensureL1(image: Qcow2Parts, entries: number): void {
  const { metadata } = image;
  const old = metadata.l1;
  if (entries <= old.size) return;
  const table = new PointerTable(allocateL1(image, entries), entries);
  table.copyFrom(old);
  replaceL1(image, table);
}

export function tooLarge(path: string): ImageError {
  return new ImageError(path, "the disk would be larger than clusters of this size allow");
}

/** Allocates an L1 table. Returns its offset. @throws {ImageError | SystemError} */
export function allocateL1(image: Qcow2Parts, entries: number): number {
  const { refcounts, geometry } = image.metadata;
  if (entries * 8 > MAX_L1_BYTES) throw tooLarge(image.path);
  return (
    refcounts.allocateRun(Math.max(1, Math.ceil((entries * 8) / geometry.clusterSize))) * geometry.clusterSize
  );
}

/** Writes an L1 table to new clusters, makes it the active one of a disk of `size` bytes, and frees the old one. */
export function replaceL1(image: Qcow2Parts, table: PointerTable, size = image.size): void {
  const { metadata } = image;
  const { clusterSize } = metadata.geometry;
  const old = metadata.l1;
  metadata.commit();
  table.writeTo(metadata.file, table.offset);
  metadata.switchL1(table, size);
  if (old.size > 0) metadata.free(old.offset / clusterSize, Math.ceil(old.length / clusterSize), false);
}

/** Makes the new part of the disk read as zeros, whatever a cluster or a longer backing file has there. */
function clearNew(image: Qcow2Parts, before: number, size: number): void {
  const { clusterSize } = image.metadata.geometry;
  // If the disk was larger before, its last cluster may have old data.
  const edge = Math.min(size, Math.ceil(before / clusterSize) * clusterSize);
  clearRange(image, before, edge);
  const below = Math.min(size, image.backing?.size ?? 0);
  if (below <= edge) return;
  if (image.header.version === 3)
    image.eraser.eraseClusters(edge / clusterSize, Math.ceil(below / clusterSize));
  else clearRange(image, edge, below);
}

function clearRange(image: Qcow2Parts, from: number, to: number): void {
  if (to === from) return;
  const result = image.eraser.writeZeroes(from, to - from, false);
  check(result, "pwrite", `clearing the new part of ${image.path}`);
}

/**
 * Removes all contents of the image itself, so that the disk has the contents of the
 * image below; the file becomes as small as possible. Snapshots stay.
 * @throws {ImageError | SystemError}
 */
export function emptyQcow2(image: Qcow2Parts): void {
  const { metadata } = image;
  const { data, file } = metadata;
  metadata.beginCounting();
  metadata.flush();
  forgetFrom(image, 0, image.size);
  moveL1Down(image);
  if (data === file) cutTail(image);
  else data.discard(0, data.size); // the host may ignore it
}

/** Moves the L1 table to the front: one that was made when the file was long would keep the file long. */
function moveL1Down(image: Qcow2Parts): void {
  const { metadata } = image;
  const { l1, refcounts, geometry } = metadata;
  if (l1.size === 0) return;
  const offset = allocateL1(image, l1.size);
  if (offset < l1.offset) {
    const table = new PointerTable(offset, l1.size);
    table.copyFrom(l1);
    replaceL1(image, table);
  } else {
    refcounts.lower(offset / geometry.clusterSize, Math.ceil(l1.length / geometry.clusterSize));
  }
  metadata.flush();
}

function shrink(image: Qcow2Parts, size: number, before: number): void {
  const { metadata } = image;
  metadata.setSize(size);
  forgetFrom(image, size, before);
  if (metadata.data !== metadata.file) {
    if (!metadata.data.isBlockDevice && metadata.data.size > size) metadata.data.truncate(size);
  }
  cutTail(image);
}

/** Frees the clusters behind byte `from` of a disk of `size` bytes, and their L2 tables. */
export function forgetFrom(image: Qcow2Parts, from: number, size: number): void {
  const { metadata } = image;
  const { clusterSize, l2Entries } = metadata.geometry;
  const keeps = Math.ceil(from / clusterSize);
  image.eraser.forgetClusters(keeps, Math.ceil(size / clusterSize));
  metadata.commit();
  const { l1 } = metadata;
  for (let index = Math.ceil(keeps / l2Entries); index < l1.size; index++) {
    const table = l1.pointer(index);
    if (table === 0) continue;
    l1.set(index, 0, false);
    metadata.free(table / clusterSize, 1, true);
  }
  metadata.flush();
}

/** Removes unused clusters from the end of the file. */
function cutTail(image: Qcow2Parts): void {
  const { refcounts, file, geometry } = image.metadata;
  if (file.isBlockDevice) return;
  let end = Math.ceil(file.size / geometry.clusterSize);
  while (end > 0 && refcounts.get(end - 1) === 0) end--;
  if (end * geometry.clusterSize < file.size) file.truncate(end * geometry.clusterSize);
}
