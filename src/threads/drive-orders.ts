/**
 * What the owner of a machine asks of a drive while the guest uses it: another
 * size, snapshots inside its image. Carried out by the io thread between two
 * batches of requests, when none of the drive's is under way.
 */
import type { BlockBackend } from "../disk/backend.ts";
import { GuestDisk } from "../disk/guest-disk.ts";
import { ImageError } from "../disk/image-error.ts";
import { Qcow2Image } from "../images/qcow2/image.ts";
import { resizeQcow2 } from "../images/qcow2/resize.ts";
import type { Snapshot } from "../images/qcow2/snapshot-table.ts";
import { createSnapshot, deleteSnapshot, listSnapshots } from "../images/qcow2/snapshots.ts";
import { RawDisk } from "../images/raw-disk.ts";
import { SystemError } from "../sys/errors.ts";
import type { QueueRunner } from "../virtio/queue/queue-runner.ts";
import type { DriveOrder, Message } from "./shared.ts";

/** Obeys, and returns what to answer: a failure becomes part of it. */
export function carryOut(order: DriveOrder, disk: BlockBackend, runner: QueueRunner): Message {
  const { id, task } = order;
  try {
    if (!(disk instanceof GuestDisk)) {
      return {
        kind: "answer",
        id,
        failure: {
          code: "EIMAGE",
          message: "only a disk in an image can be changed, not one of the program's own or of a server",
        },
      };
    }
    disk.drain();
    switch (task.kind) {
      case "resize":
        resize(disk, task.size);
        runner.resize(disk.size);
        break;
      case "create-snapshot":
        createSnapshot(qcow2Of(disk), task.name);
        break;
      case "delete-snapshot":
        deleteSnapshot(qcow2Of(disk), task.name);
        break;
      case "list-snapshots":
        break;
    }
    const { image } = disk;
    const snapshots: readonly Snapshot[] = image instanceof Qcow2Image ? listSnapshots(image) : [];
    return { kind: "answer", id, size: disk.size, snapshots };
  } catch (error) {
    // As data: an error of a class of ours would not be one on another thread.
    if (error instanceof ImageError || error instanceof SystemError) {
      return { kind: "answer", id, failure: { code: error.code, message: error.message } };
    }
    throw error;
  }
}

function resize({ image }: GuestDisk, size: number): void {
  if (image.readOnly) throw new ImageError(image.path, "a read-only disk cannot be resized");
  if (image instanceof Qcow2Image) resizeQcow2(image, size);
  else if (image instanceof RawDisk) image.resize(size);
  else throw new ImageError(image.path, `a disk in an image of format ${image.format} cannot be resized`);
}

function qcow2Of({ image }: GuestDisk): Qcow2Image {
  if (image instanceof Qcow2Image && !image.readOnly) return image;
  throw new ImageError(image.path, "snapshots are kept in qcow2 images that may be written");
}
