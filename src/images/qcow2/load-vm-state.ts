/** Takes the state of a machine out of a snapshot: see vm-state.ts. */
import { Pieces } from "../../base/pieces.ts";
import { ImageError } from "../../disk/image-error.ts";
import { BufferMemory } from "../../disk/io-memory.ts";
import { check } from "../../sys/errors.ts";
import { HostFile } from "../../sys/file.ts";
import type { Qcow2Image } from "./image.ts";
import { findSnapshot } from "./snapshot-table.ts";
import { applySnapshot, listSnapshots } from "./snapshots.ts";
import { forgetState, PIECE, stateOffset } from "./vm-state.ts";

/**
 * Copies the state to a new file.
 * @param image opened with the option `snapshot`, so that its disk is that of the snapshot
 * @throws {ImageError} if there is no such snapshot, or it has no state; {SystemError}
 */
export function copyVmState(image: Qcow2Image, name: string, path: string): void {
  const snapshot = findSnapshot(image.path, listSnapshots(image), name);
  const { vmStateSize: size } = snapshot;
  if (size === 0) {
    throw new ImageError(
      image.path,
      `the snapshot ${JSON.stringify(name)} has a disk alone, and not a machine`,
    );
  }
  using to = HostFile.open(path, { create: true });
  const start = stateOffset(image);
  const buffer = new Uint8Array(Math.min(PIECE, size));
  for (let done = 0; done < size; done += buffer.length) {
    const bytes = buffer.subarray(0, size - done);
    const read = image.readv(new BufferMemory(bytes), Pieces.whole(bytes.length), start + done);
    check(read, "pread", `reading the state of a machine from ${image.path}`);
    to.write(bytes, done);
  }
}

/** Makes the disk what it was, without what lies behind it. @throws {ImageError | SystemError} as applySnapshot */
export function applyDisk(image: Qcow2Image, name: string): void {
  applySnapshot(image, name);
  forgetState(image);
}
