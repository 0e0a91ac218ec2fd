/** The owner of a machine changes the medium of a CD drive: the tray opens, and closes with another one if there is one. */
import type { DiskReply } from "../../disk/disk-order.ts";
import { MediumLocked, type MediumOrder } from "../../images/medium-order.ts";
import type { DiskBackEnd } from "../back-ends.ts";

/** A drive without requests in flight. */
export interface Tray {
  /** False if the guest has locked it: then it is notified. */
  eject(force: boolean): boolean;
  /** @param bytes of the medium */
  insert(bytes: number): void;
}

/** @throws {MediumLocked}; {SystemError | ImageError} for an image that cannot be used */
export function changeMedium({ image, force }: MediumOrder, backEnd: DiskBackEnd, tray: Tray): DiskReply {
  if (!tray.eject(force)) {
    throw new MediumLocked(
      "the guest has locked the drive, and was notified; try again when it has unlocked it, or use force",
    );
  }
  backEnd.change?.(image);
  const { size } = backEnd.disk;
  if (image !== undefined) tray.insert(size);
  return { size, snapshots: [] };
}
