/**
 * The directory of internal snapshots, as it lies in the file.
 *
 * Source: QEMU docs/interop/qcow2.txt, Snapshots. The limit on its length is
 * a tenth of QEMU's, which no real image comes near.
 */

import { bytesOfText, textOfBytes } from "../../base/byte-text.ts";
import type { Snapshot } from "../../disk/image.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { getUint64, type Header, MAX_L1_BYTES, setUint64 } from "./header.ts";

const FIXED_BYTES = 40;
/** vm_state_size and disk_size, of what follows the fixed part. */
const KNOWN_EXTRA = 16;
const MAX_EXTRA = 1024;
const MAX_TABLE_BYTES = 2 ** 26;

/** A snapshot as the table describes it. */
export interface StoredSnapshot extends Snapshot {
  readonly l1Offset: number;
  /** Entries. */
  readonly l1Size: number;
  /** Extra data behind what is known, kept as it is. */
  readonly otherExtra: Uint8Array;
}

export interface SnapshotTable {
  readonly snapshots: readonly StoredSnapshot[];
  /** Bytes in the file. */
  readonly bytes: number;
}

/** @throws {ImageError} if an entry is not valid; {SystemError} if the file cannot be read. */
export function readSnapshotTable(file: HostFile, header: Header): SnapshotTable {
  const snapshots: StoredSnapshot[] = [];
  const { clusterBits } = header;
  const clusterSize = 2 ** clusterBits;
  const refuse = (why: string): never => {
    throw new ImageError(file.path, `snapshot ${snapshots.length + 1} of ${header.snapshots} ${why}`);
  };
  let at = 0;
  while (snapshots.length < header.snapshots) {
    const fixed = read(file, header.snapshotsOffset + at, FIXED_BYTES);
    if (fixed === undefined) return refuse("lies beyond the end of the file");
    const idBytes = fixed.getUint16(12);
    const nameBytes = fixed.getUint16(14);
    const extraBytes = fixed.getUint32(36);
    if (extraBytes > MAX_EXTRA) refuse(`has ${extraBytes} bytes of extra data`);
    const rest = read(file, header.snapshotsOffset + at + FIXED_BYTES, extraBytes + idBytes + nameBytes);
    if (rest === undefined) return refuse("is cut off");
    at += Math.ceil((FIXED_BYTES + rest.byteLength) / 8) * 8;
    if (at > MAX_TABLE_BYTES) refuse("makes the snapshot table too long");
    const l1Offset = getUint64(fixed, 0);
    const l1Size = fixed.getUint32(8);
    if (l1Size * 8 > MAX_L1_BYTES || l1Offset % clusterSize !== 0 || l1Offset + l1Size * 8 > file.size) {
      refuse(`has an L1 table of ${l1Size} entries at offset ${l1Offset}`);
    }
    snapshots.push({
      id: text(rest, extraBytes, idBytes),
      name: text(rest, extraBytes + idBytes, nameBytes),
      l1Offset,
      l1Size,
      seconds: fixed.getUint32(16),
      nanoseconds: fixed.getUint32(20),
      vmClock: getUint64(fixed, 24),
      vmStateSize: extraBytes >= 8 ? getUint64(rest, 0) : fixed.getUint32(32),
      diskSize: extraBytes >= 16 ? wholeSectors(getUint64(rest, 8)) : header.size,
      otherExtra: new Uint8Array(rest.buffer, rest.byteOffset, extraBytes).slice(KNOWN_EXTRA),
    });
  }
  return { snapshots, bytes: at };
}

/**
 * Bytes of the table in the file. If it cannot be read, the least that its entries take.
 * @throws {SystemError} if the file cannot be read.
 */
export function snapshotTableBytes(file: HostFile, header: Header): number {
  if (header.snapshots === 0) return 0;
  try {
    return readSnapshotTable(file, header).bytes;
  } catch (error) {
    if (error instanceof ImageError) return header.snapshots * FIXED_BYTES;
    throw error;
  }
}

/** By id, or else by name, as qemu-img looks for them. @throws {ImageError} if there is none. */
export function findSnapshot(
  path: string,
  snapshots: readonly StoredSnapshot[],
  wanted: string,
): StoredSnapshot {
  const found = snapshots.find(({ id }) => id === wanted) ?? snapshots.find(({ name }) => name === wanted);
  if (found === undefined) throw new ImageError(path, `there is no snapshot ${JSON.stringify(wanted)}`);
  return found;
}

export function encodeSnapshotTable(snapshots: readonly StoredSnapshot[]): Uint8Array {
  const entries = snapshots.map(encodeEntry);
  const table = new Uint8Array(entries.reduce((sum, entry) => sum + entry.length, 0));
  let at = 0;
  for (const entry of entries) {
    table.set(entry, at);
    at += entry.length;
  }
  return table;
}

function encodeEntry(snapshot: StoredSnapshot): Uint8Array {
  const id = bytesOfText(snapshot.id);
  const name = bytesOfText(snapshot.name);
  const extra = KNOWN_EXTRA + snapshot.otherExtra.length;
  const entry = new Uint8Array(Math.ceil((FIXED_BYTES + extra + id.length + name.length) / 8) * 8);
  const view = new DataView(entry.buffer);
  setUint64(view, 0, snapshot.l1Offset);
  view.setUint32(8, snapshot.l1Size);
  view.setUint16(12, id.length);
  view.setUint16(14, name.length);
  view.setUint32(16, snapshot.seconds);
  view.setUint32(20, snapshot.nanoseconds);
  setUint64(view, 24, snapshot.vmClock);
  view.setUint32(32, snapshot.vmStateSize < 2 ** 32 ? snapshot.vmStateSize : 0);
  view.setUint32(36, extra);
  setUint64(view, 40, snapshot.vmStateSize);
  setUint64(view, 48, snapshot.diskSize);
  entry.set(snapshot.otherExtra, FIXED_BYTES + KNOWN_EXTRA);
  entry.set(id, FIXED_BYTES + extra);
  entry.set(name, FIXED_BYTES + extra + id.length);
  return entry;
}

function read(file: HostFile, offset: number, length: number): DataView | undefined {
  const bytes = new Uint8Array(length);
  return file.read(bytes, offset) === length ? new DataView(bytes.buffer) : undefined;
}

function wholeSectors(bytes: number): number {
  return bytes - (bytes % 512);
}

function text(view: DataView, at: number, length: number): string {
  return textOfBytes(new Uint8Array(view.buffer, view.byteOffset + at, length));
}
