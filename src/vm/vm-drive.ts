/** A drive of a machine, to be changed while the guest uses it. */

import type { DiskOrder, DiskReply } from "../disk/disk-order.ts";
import type { Snapshot } from "../disk/image.ts";

/** Sends an order to the machine's io thread. */
export type SendOrder = (part: string, order: DiskOrder) => Promise<DiskReply>;

/** A drive could not be changed. */
export class DriveError extends Error {
  override readonly name = "DriveError";
  /** EIMAGE: the image is in the way. ESTATE: the machine ended meanwhile. Or of the host: ENOSPC, EIO … */
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
   * Gives the disk another size, in bytes, and tells the guest. A smaller one loses
   * what is behind its end.
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
   * Keeps the disk as it is now, inside its qcow2 image. What the guest has not
   * flushed may be missing: ask it to sync first, or pause it.
   *
   * @throws {DriveError} if the image is none of qcow2, or has one of that name; {StateError}
   */
  async createSnapshot(name: string): Promise<void> {
    await this.#send(this.#part, { kind: "create-snapshot", name });
  }

  /** @param name of the snapshot, or its id @throws {DriveError} if there is none; {StateError} */
  async deleteSnapshot(name: string): Promise<void> {
    await this.#send(this.#part, { kind: "delete-snapshot", name });
  }

  /** Those in the image; none in images of other formats. @throws {DriveError | StateError} */
  async snapshots(): Promise<readonly Snapshot[]> {
    return (await this.#send(this.#part, { kind: "list-snapshots" })).snapshots;
  }
}
