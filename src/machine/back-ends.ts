/** What is behind a part on the io thread: it completes the part's requests and carries out its owner's orders. */
import type { BlockBackend } from "../disk/backend.ts";
import type { DiskOrder, DiskReply } from "../disk/disk-order.ts";
import type { DriveImage } from "../images/drive.ts";
import type { NetBackend } from "../net/backend.ts";
import type { VirtioTaskParts } from "../virtio/virtio-task.ts";

/** Its events, orders, and end. */
export type BackEnd = Pick<
  VirtioTaskParts<DiskOrder, DiskReply>,
  "events" | "order" | "close" | "kernelQueues"
>;

/** A disk's. */
export interface DiskBackEnd extends BackEnd {
  readonly disk: BlockBackend;
  /** Puts another image, or none, in the place of the present one. @throws {SystemError | ImageError} */
  change?(image: DriveImage | undefined): void;
}

/** A network card's. */
export interface NetBackEnd extends BackEnd {
  readonly backend: NetBackend;
}
