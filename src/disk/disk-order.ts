/**
 * What the owner of a machine asks of a disk while the guest uses it: another
 * size, snapshots inside its image, that all is on stable storage. Carried out by
 * the io thread between two batches of requests, when none of the disk's is in flight.
 */
import type { BlockBackend } from "./backend.ts";
import { GuestDisk } from "./guest-disk.ts";
import type { ImageSnapshots, SavedState, Snapshot } from "./image.ts";
import { ImageError } from "./image-error.ts";

export type DiskOrder =
  /** Bytes, a multiple of 512. */
  | { readonly kind: "resize"; readonly size: number }
  | { readonly kind: "create-snapshot"; readonly name: string; readonly state?: SavedState | undefined }
  /** By id or name. */
  | { readonly kind: "delete-snapshot"; readonly name: string }
  /** Makes the disk what it was when a snapshot was created. */
  | { readonly kind: "apply-snapshot"; readonly name: string }
  | { readonly kind: "list-snapshots" }
  /** All that was written, and the image's own tables, on stable storage. */
  | { readonly kind: "flush" };

/** A disk after an order was carried out. */
export interface DiskReply {
  /** Bytes. */
  readonly size: number;
  readonly snapshots: readonly Snapshot[];
}

/** The disk is not in an image. */
class NotAnImage extends Error {
  override readonly name = "NotAnImage";
  readonly code = "EIMAGE";
}

/**
 * @param resized shows the guest another size, in bytes
 * @throws {ImageError} if the image is in the way; {SystemError}
 */
export function carryOut(order: DiskOrder, disk: BlockBackend, resized: (size: number) => void): DiskReply {
  if (!(disk instanceof GuestDisk)) {
    throw new NotAnImage(
      "only a disk in an image can be changed, not one of the program's own or of a server",
    );
  }
  disk.drain();
  switch (order.kind) {
    case "resize":
      resize(disk, order.size);
      resized(disk.size);
      break;
    case "create-snapshot":
      snapshotsOf(disk).create(order.name, order.state);
      break;
    case "delete-snapshot":
      snapshotsOf(disk).delete(order.name);
      break;
    case "apply-snapshot":
      snapshotsOf(disk).apply(order.name);
      break;
    case "flush":
      disk.image.flush();
      break;
    case "list-snapshots":
      break;
  }
  return { size: disk.size, snapshots: disk.image.snapshots?.list() ?? [] };
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
