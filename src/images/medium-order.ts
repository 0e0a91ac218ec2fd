/** What the owner of a machine asks of a drive with a removable medium. Carried out as a DiskOrder is. */
import type { DiskOrder } from "../disk/disk-order.ts";
import type { DriveImage } from "./drive.ts";

export interface MediumOrder {
  readonly kind: "change-medium";
  /** Undefined: the tray stays open, and empty. */
  readonly image: DriveImage | undefined;
  /** Also if the guest has locked the drive. */
  readonly force: boolean;
}

export type DriveOrder = DiskOrder | MediumOrder;

/** The guest has locked the drive, and was notified that somebody wants it open. */
export class MediumLocked extends Error {
  override readonly name = "MediumLocked";
  readonly code = "EBUSY";
}
