/**
 * The VM state of a snapshot: bytes beyond the end of the disk, to which only the
 * snapshot's L1 table leads. What they mean, whoever wrote them knows.
 *
 * They begin where the first L2 table begins that maps nothing of the disk. They
 * are written to the active L1 table, the snapshot is taken, and they are removed
 * from the active table. Until then they are leaked clusters at worst.
 *
 * Source: QEMU docs/interop/qcow2.txt, Snapshots (vm_state_size); where they begin
 * is in no specification: QEMU block/qcow2.h, qcow2_vm_state_offset.
 */
import { Pieces } from "../../base/pieces.ts";
import type { SavedState } from "../../disk/image.ts";
import { BufferMemory } from "../../disk/io-memory.ts";
import { check } from "../../sys/errors.ts";
import { HostFile } from "../../sys/file.ts";
import type { Qcow2Parts } from "./parts.ts";
import { ensureL1, forgetFrom } from "./resize.ts";
import { createSnapshot, prepare } from "./snapshots.ts";
import type { Writer } from "./writer.ts";

/** Bytes of the state that are copied at a time. */
export const PIECE = 2 ** 20;

/** Takes a snapshot that contains the bytes of a file. @throws {ImageError | SystemError} as createSnapshot */
export function createWithState(image: Qcow2Parts, writer: Writer, name: string, state: SavedState): void {
  prepare(image);
  using from = HostFile.open(state.path, { readOnly: true });
  const { size } = from;
  const start = stateOffset(image);
  forgetState(image); // of a snapshot that was applied
  image.metadata.beginCounting();
  ensureL1(image, Math.ceil((start + size) / image.metadata.geometry.l2Coverage));
  try {
    const buffer = new Uint8Array(Math.min(PIECE, size));
    for (let done = 0; done < size; ) {
      const bytes = buffer.subarray(0, from.read(buffer, done));
      const written = writer.writev(new BufferMemory(bytes), Pieces.whole(bytes.length), start + done, false);
      check(written, "pwrite", `writing the state of a machine to ${image.path}`);
      done += bytes.length;
    }
    createSnapshot(image, name, new Date(), { size, clockNs: state.clockNs });
  } finally {
    forgetState(image);
  }
}

/** Where the state begins. */
export function stateOffset({ size, metadata }: Qcow2Parts): number {
  const { l2Coverage } = metadata.geometry;
  return Math.ceil(size / l2Coverage) * l2Coverage;
}

/** The active L1 table leads nowhere behind the disk. */
export function forgetState(image: Qcow2Parts): void {
  const { metadata } = image;
  metadata.beginCounting();
  metadata.flush();
  forgetFrom(image, stateOffset(image), metadata.l1.size * metadata.geometry.l2Coverage);
}
