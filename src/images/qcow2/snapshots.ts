/**
 * Internal snapshots: a copy of the L1 table, with everything it leads to
 * counted once more. A write to a cluster that is counted twice goes elsewhere.
 *
 * The header changes at one moment. Before it counts are only raised, after it
 * only lowered, so that a stop in between leaks clusters at worst. Counts and the
 * COPIED bits that repeat them cannot change at one moment: the image is marked
 * dirty meanwhile, so that whoever opens it after a stop mends them. (Version 2
 * has no such mark. What is out of date there does no harm, and `check` mends it.)
 *
 * Source: QEMU docs/interop/qcow2.txt, Snapshots.
 *
 * The state of a machine, if a snapshot has one, is written by vm-state.ts.
 */
import { bytesOfText } from "../../base/byte-text.ts";
import { ImageError } from "../../disk/image-error.ts";
import { type L2Entry, L2Walk } from "./l2-walk.ts";
import type { Qcow2Parts } from "./parts.ts";
import { PointerTable } from "./pointer-table.ts";
import { allocateL1, replaceL1, withBitmaps } from "./resize.ts";
import {
  encodeSnapshotTable,
  findSnapshot,
  readSnapshotTable,
  type StoredSnapshot,
} from "./snapshot-table.ts";

const MAX_NAME = 65535;

/** The snapshots of an image, oldest first. @throws {ImageError | SystemError} */
export function listSnapshots(image: Qcow2Parts): readonly StoredSnapshot[] {
  return readSnapshotTable(image.file, image.header).snapshots;
}

/**
 * Takes a snapshot of the disk as it is. Returns its id.
 *
 * @param when of the snapshot's time stamp
 * @param state what of the machine's state lies behind the disk
 * @throws {ImageError} if there is one of that name; if refcounts are too narrow; {SystemError}
 */
export function createSnapshot(
  image: Qcow2Parts,
  name: string,
  when = new Date(),
  state: { readonly size: number; readonly clockNs: number } = { size: 0, clockNs: 0 },
): string {
  const { metadata } = image;
  const snapshots = prepare(image);
  if (bytesOfText(name).length > MAX_NAME) throw new RangeError("the snapshot's name is too long");
  if (snapshots.some((snapshot) => snapshot.name === name)) {
    throw new ImageError(image.path, `there is a snapshot ${JSON.stringify(name)} already`);
  }
  const id = String(1 + Math.max(0, ...snapshots.map(({ id }) => Number(id)).filter(Number.isSafeInteger)));
  const { l1 } = metadata;
  checkWidth(image, l1);
  metadata.beginUnsettled();
  const copy = allocateL1(image, l1.size);
  count(image, l1, 1);
  markCopied(image, l1);
  metadata.commit();
  l1.writeTo(metadata.file, copy);
  const milliseconds = when.getTime();
  writeTable(image, [
    ...snapshots,
    {
      id,
      name,
      l1Offset: copy,
      l1Size: l1.size,
      seconds: Math.floor(milliseconds / 1000),
      nanoseconds: (milliseconds % 1000) * 1_000_000,
      vmClock: state.clockNs,
      vmStateSize: state.size,
      diskSize: image.size,
      otherExtra: new Uint8Array(8), // icount, of a guest that had executed nothing
    },
  ]);
  metadata.settle();
  return id;
}

/**
 * Makes the disk what it was when a snapshot was taken. The snapshot stays.
 *
 * @param wanted id or name
 * @throws {ImageError} if there is none; {SystemError}
 */
export function applySnapshot(image: Qcow2Parts, wanted: string): void {
  const { metadata } = image;
  const snapshot = findSnapshot(image.path, prepare(image), wanted);
  const kept = PointerTable.read(metadata.file, snapshot.l1Offset, snapshot.l1Size);
  checkWidth(image, kept);
  metadata.beginUnsettled();
  const before = metadata.l1;
  const size = Math.max(before.size, snapshot.l1Size);
  const table = new PointerTable(allocateL1(image, size), size);
  table.copyFrom(kept);
  count(image, kept, 1);
  // Shared from now on, and marked so before it becomes the disk: a write in place would change the snapshot.
  markCopied(image, table);
  // With its size: what lies beyond the end of the snapshot's disk was never meant to be read.
  withBitmaps(image, () => {
    replaceL1(image, table, snapshot.diskSize);
    metadata.flush();
  });
  metadata.bitmaps?.markAll();
  count(image, before, -1);
  markCopied(image, table);
  metadata.settle();
}

/**
 * Deletes a snapshot and frees what only it used.
 *
 * @param wanted id or name
 * @throws {ImageError} if there is none; {SystemError}
 */
export function deleteSnapshot(image: Qcow2Parts, wanted: string): void {
  const { metadata } = image;
  const { clusterSize } = metadata.geometry;
  const snapshots = prepare(image);
  const snapshot = findSnapshot(image.path, snapshots, wanted);
  const table = PointerTable.read(metadata.file, snapshot.l1Offset, snapshot.l1Size);
  checkWidth(image, table, 0);
  metadata.beginUnsettled();
  writeTable(
    image,
    snapshots.filter((each) => each !== snapshot),
  );
  count(image, table, -1);
  metadata.free(snapshot.l1Offset / clusterSize, Math.max(1, Math.ceil(table.length / clusterSize)), false);
  markCopied(image, metadata.l1);
  metadata.settle();
}

/** What the image has, before it gets another one. @throws {ImageError} if it cannot have any */
export function prepare(image: Qcow2Parts): readonly StoredSnapshot[] {
  const { metadata } = image;
  if (metadata.data !== metadata.file) {
    throw new ImageError(image.path, "an image with an external data file cannot have snapshots");
  }
  metadata.beginCounting();
  metadata.flush();
  return listSnapshots(image);
}

/** Writes the table to a place of its own and makes it the image's. */
function writeTable(image: Qcow2Parts, snapshots: readonly StoredSnapshot[]): void {
  const { metadata } = image;
  const { clusterSize } = metadata.geometry;
  const { snapshotsOffset, snapshots: before } = metadata.header;
  const { bytes: oldBytes } = readSnapshotTable(metadata.file, metadata.header);
  const bytes = encodeSnapshotTable(snapshots);
  let offset = 0;
  if (bytes.length > 0) {
    offset = metadata.refcounts.allocateRun(Math.ceil(bytes.length / clusterSize)) * clusterSize;
    metadata.file.write(bytes, offset);
  }
  metadata.flush();
  metadata.setSnapshots(snapshots.length, offset, bytes.length);
  if (before > 0) metadata.free(snapshotsOffset / clusterSize, Math.ceil(oldBytes / clusterSize), false);
  metadata.flush();
}

/** Adds one use, or takes one, of every cluster that an L1 table leads to. */
function count(image: Qcow2Parts, l1: PointerTable, times: 1 | -1): void {
  const { metadata } = image;
  const { refcounts, geometry } = metadata;
  const { clusterSize } = geometry;
  const change = (first: number, clusters: number) =>
    times === 1 ? refcounts.raise(first, clusters) : metadata.free(first, clusters, false);
  each(image, l1, (entry) => {
    const first = Math.floor(entry.offset / clusterSize);
    change(first, Math.floor((entry.offset + entry.length - 1) / clusterSize) - first + 1);
  });
  // After what they lead to: lowering the last use of a table forgets it.
  for (let index = 0; index < l1.size; index++) {
    const table = l1.pointer(index);
    if (table !== 0) change(table / clusterSize, 1);
  }
}

/** Before anything changes: tables that lead nowhere sensible, and refcounts that cannot be raised. */
function checkWidth(image: Qcow2Parts, l1: PointerTable, times = 1): void {
  const { refcounts, geometry } = image.metadata;
  const { clusterSize, refcountMax } = geometry;
  const clusters = Math.ceil(image.file.size / clusterSize);
  const tables = new Set<number>();
  const check = (first: number, last: number, shares: boolean) => {
    if (last >= clusters)
      throw new ImageError(image.path, `an entry leads to cluster ${last}, beyond the end of the file`);
    for (let cluster = first; times > 0 && cluster <= last; cluster++) {
      // Several pieces of compressed data may be in one cluster: as many as it is used, at most.
      const uses = refcounts.get(cluster);
      if (uses + (shares ? uses : times) > refcountMax) {
        throw new ImageError(
          image.path,
          `refcounts of ${2 ** geometry.refcountOrder} bits are too narrow for one more snapshot`,
        );
      }
    }
  };
  for (let index = 0; index < l1.size; index++) {
    const table = l1.pointer(index);
    if (table === 0) continue;
    if (table % clusterSize !== 0 || tables.has(table)) {
      throw new ImageError(image.path, `entry ${index} of an L1 table is not valid`);
    }
    tables.add(table);
    check(table / clusterSize, table / clusterSize, false);
  }
  each(image, l1, (entry) => {
    if (!entry.isCompressed && entry.offset % clusterSize !== 0) {
      throw new ImageError(image.path, `L2 entry ${entry.text} is not valid`);
    }
    const last = Math.floor((entry.offset + entry.length - 1) / clusterSize);
    check(Math.floor(entry.offset / clusterSize), last, entry.isCompressed);
  });
}

function each(image: Qcow2Parts, l1: PointerTable, visit: (entry: L2Entry) => void): void {
  const walk = new L2Walk(image.file, image.metadata.geometry);
  for (let index = 0; index < l1.size; index++) {
    const table = l1.pointer(index);
    if (table !== 0) walk.each(table, visit);
  }
}

/** Makes the COPIED bits of an L1 table, in memory, and of its L2 tables say what the refcounts do. */
function markCopied(image: Qcow2Parts, l1: PointerTable): void {
  const { metadata } = image;
  const { refcounts, geometry, l2, file } = metadata;
  const walk = new L2Walk(file, geometry);
  metadata.commit();
  if (!metadata.isDirtyImage) refcounts.writeBack();
  metadata.barrier();
  for (let index = 0; index < l1.size; index++) {
    const table = l1.pointer(index);
    if (table === 0) continue;
    let changed = false;
    walk.each(table, (entry) => {
      if (entry.isCompressed) return;
      const copied = refcounts.get(entry.offset / geometry.clusterSize) === 1;
      if (copied === entry.isCopied) return;
      walk.mark(entry.index, copied);
      changed = true;
    });
    if (changed) {
      l2.drop(table, geometry.clusterSize);
      walk.write(table);
    }
    const copied = refcounts.get(table / geometry.clusterSize) === 1;
    if (copied !== l1.isCopied(index)) l1.set(index, table, copied);
  }
  metadata.commit();
}
