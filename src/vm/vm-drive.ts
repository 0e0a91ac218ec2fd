/** A drive of a machine, for changes while the guest uses it. */

import { OptionError } from "../base/errors.ts";
import type { DriveConfig } from "../config/devices/virtio-blk.ts";
import type { DiskOrder, DiskReply } from "../disk/disk-order.ts";
import type { Snapshot } from "../disk/image.ts";
import { isNbdName } from "../nbd/address.ts";
import { type Drives, driveName } from "./drives.ts";
import type { PowerCycle } from "./power-cycle.ts";
import type { Saves } from "./saves.ts";
import { DriveError } from "./vm-error.ts";

/** The machine's power cycle. @throws {StateError} after the end, or in the middle of a reset */
type Existing = (doing: string) => PowerCycle;

/** Does something when nothing else changes the machine's state. */
type InTurn = (work: () => Promise<void>) => Promise<void>;

export interface EjectOptions {
  /** Opens the tray also if the guest has locked it. Default false. */
  readonly force?: boolean;
}

export interface InsertOptions extends EjectOptions {
  /** As of a drive: raw, unless the file looks like another format. */
  readonly format?: DriveConfig["format"];
}

/** @param file undefined for none */
type ChangeMedium = (file: string | undefined, options: InsertOptions) => Promise<void>;

export class VmDrive {
  /** As its options name it: `vm.drives.find(({ id }) => id === "root")`. */
  readonly id: string | undefined;
  readonly #part: string;
  readonly #existing: Existing;
  readonly #change: ChangeMedium | undefined;

  /** @param change for a drive whose medium can be changed */
  constructor(drive: DriveConfig, part: string, existing: Existing, change: ChangeMedium | undefined) {
    this.id = drive.id;
    this.#part = part;
    this.#existing = existing;
    this.#change = change;
  }

  /**
   * Puts another medium into a CD drive, in place of the one that may be in it, and notifies the guest. A
   * mark of the machine is dropped.
   *
   * @throws {DriveError} EBUSY if the guest has locked the drive, which is then asked to open it: without
   *   `force`, try again; {OptionError | ImageError | SystemError} for a file that cannot be used; {StateError}
   */
  async insert(file: string, options: InsertOptions = {}): Promise<void> {
    if (isNbdName(file)) throw new DriveError("ENOTSUP", `${file}: only a file can be inserted into a drive`);
    if (file === "") throw new OptionError("insert: the file is missing");
    await this.#changeTo(file, options);
  }

  /** Opens the tray and takes the medium out. @throws as insert */
  async eject(options: EjectOptions = {}): Promise<void> {
    await this.#changeTo(undefined, options);
  }

  async #changeTo(file: string | undefined, options: InsertOptions): Promise<void> {
    if (this.#change === undefined) {
      throw new DriveError("ENOTSUP", "only the medium of a CD drive, in a file, can be changed");
    }
    await this.#change(file, options);
  }

  async #send(order: DiskOrder): Promise<DiskReply> {
    return this.#existing(order.kind).order(this.#part, order);
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
    await this.#send({ kind: "resize", size });
  }

  /**
   * Saves the present state of the disk inside its qcow2 image. Data that the guest
   * has not flushed may be missing: run sync in the guest first, or pause it.
   *
   * @throws {DriveError} if the image is not qcow2, or has a snapshot of that name; {StateError}
   */
  async createSnapshot(name: string): Promise<void> {
    await this.#send({ kind: "create-snapshot", name });
  }

  /** @param name of the snapshot, or its id @throws {DriveError} if there is none; {StateError} */
  async deleteSnapshot(name: string): Promise<void> {
    await this.#send({ kind: "delete-snapshot", name });
  }

  /** The snapshots in the image; other formats have none. @throws {DriveError | StateError} */
  async snapshots(): Promise<readonly Snapshot[]> {
    return (await this.#send({ kind: "list-snapshots" })).snapshots;
  }
}

/** The drives of a machine, in the order of its options. */
export function handlesOf(drives: Drives, saves: Saves, existing: Existing, inTurn: InTurn): VmDrive[] {
  return drives.options.map((drive, n) => {
    const part = driveName(drive, n);
    const isCd = drive.media === "cdrom" && drive.source === undefined && !isNbdName(drive.file ?? "");
    if (!isCd) return new VmDrive(drive, part, existing, undefined);
    return new VmDrive(drive, part, existing, (file, { format, force = false }) =>
      inTurn(async () => {
        const cycle = existing(file === undefined ? "eject" : "insert");
        const medium = drives.nextMedium(n, file, format);
        try {
          await cycle.order(part, { kind: "change-medium", image: medium.image, force });
        } catch (error) {
          medium.close();
          throw error;
        }
        medium.accept();
        saves.dropMark();
      }),
    );
  });
}
