/**
 * What the owner of a machine asks of a drive while the guest uses it: another
 * size, snapshots inside its image. Carried out by the io thread between two
 * batches of requests, when none of the drive's is under way.
 */
import type { BlockBackend } from "../disk/backend.ts";
import { GuestDisk } from "../disk/guest-disk.ts";
import type { ImageSnapshots } from "../disk/image.ts";
import { ImageError } from "../disk/image-error.ts";
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
        snapshotsOf(disk).create(task.name);
        break;
      case "delete-snapshot":
        snapshotsOf(disk).delete(task.name);
        break;
      case "list-snapshots":
        break;
    }
    return { kind: "answer", id, size: disk.size, snapshots: disk.image.snapshots?.list() ?? [] };
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
  if (image.resize === undefined) {
    throw new ImageError(image.path, `a disk in an image of format ${image.format} cannot be resized`);
  }
  image.resize(size);
}

function snapshotsOf({ image }: GuestDisk): ImageSnapshots {
  if (image.snapshots !== undefined && !image.readOnly) return image.snapshots;
  throw new ImageError(image.path, "snapshots need a writable qcow2 image");
}
