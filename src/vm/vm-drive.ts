/** A drive of a machine, for changes while the guest uses it. */

import type { DriveConfig } from "../config/devices/virtio-blk.ts";
import type { DiskOrder, DiskReply } from "../disk/disk-order.ts";
import type { Snapshot } from "../disk/image.ts";
import { driveName } from "./drives.ts";

/** Sends an order to the machine's io thread. */
export type SendOrder = (part: string, order: DiskOrder) => Promise<DiskReply>;

/** A drive could not be changed. */
export class DriveError extends Error {
  override readonly name = "DriveError";
  /** EIMAGE: the image does not allow it. ESTATE: the machine has ended. Or a code of the host: ENOSPC, EIO … */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class VmDrive {
  /** As its options name it: `vm.drives.find(({ id }) => id === "root")`. */
  readonly id: string | undefined;
  readonly #part: string;
  readonly #send: SendOrder;

  /** @param part the name of the part that it is */
  constructor(id: string | undefined, part: string, send: SendOrder) {
    this.id = id;
    this.#part = part;
    this.#send = send;
  }

  /**
   * Gives the disk another size, in bytes, and notifies the guest. Data behind the
   * new end is lost.
   *
   * @throws {DriveError} for a size that the image cannot have, or what the host says; {StateError}
   */
  async resize(size: number): Promise<void> {
    if (!Number.isSafeInteger(size) || size <= 0 || size % 512 !== 0) {
      throw new RangeError(`a disk of ${size} bytes has no whole sectors; give a multiple of 512`);
    }
    await this.#send(this.#part, { kind: "resize", size });
  }

  /**
   * Saves the present state of the disk inside its qcow2 image. Data that the guest
   * has not flushed may be missing: run sync in the guest first, or pause it.
   *
   * @throws {DriveError} if the image is not qcow2, or has a snapshot of that name; {StateError}
   */
  async createSnapshot(name: string): Promise<void> {
    await this.#send(this.#part, { kind: "create-snapshot", name });
  }

  /** @param name of the snapshot, or its id @throws {DriveError} if there is none; {StateError} */
  async deleteSnapshot(name: string): Promise<void> {
    await this.#send(this.#part, { kind: "delete-snapshot", name });
  }

  /** The snapshots in the image; other formats have none. @throws {DriveError | StateError} */
  async snapshots(): Promise<readonly Snapshot[]> {
    return (await this.#send(this.#part, { kind: "list-snapshots" })).snapshots;
  }
}

/** The drives of a machine, in the order of its options. */
export function handlesOf(drives: readonly DriveConfig[], send: SendOrder): VmDrive[] {
  return drives.map((drive, n) => new VmDrive(drive.id, driveName(drive, n), send));
}
