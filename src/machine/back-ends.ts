/** What is behind a part on the io thread: what completes its requests, and what its owner may order. */
import type { BlockBackend } from "../disk/backend.ts";
import type { DiskOrder, DiskReply } from "../disk/disk-order.ts";
import type { VirtioTaskParts } from "../virtio/virtio-task.ts";

/** Its events, orders, and end. */
export type BackEnd = Pick<VirtioTaskParts<DiskOrder, DiskReply>, "events" | "order" | "close">;

/** A disk's. */
export interface DiskBackEnd extends BackEnd {
  readonly disk: BlockBackend;
}
