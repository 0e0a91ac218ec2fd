/**
 * The drives of a machine, from its creation to its end: completes its spec with
 * what their images say, each time it is switched on, and keeps what must outlive
 * a reset.
 */
import { OptionError } from "../base/errors.ts";
import { type DriveImage, describeDrive } from "../block/drive.ts";
import { isReadOnlyFormat } from "../block/formats.ts";
import { probeFormat } from "../block/open-image.ts";
import { TemporaryOverlay } from "../block/temporary-overlay.ts";
import type { IoDrive } from "../threads/shared.ts";
import type { BlkDisk } from "../virtio/blk.ts";
import type { CheckedDrive } from "./validate-drive.ts";

export class Drives {
  readonly #drives: readonly CheckedDrive[];
  /** By drive. */
  readonly #overlays: (TemporaryOverlay | undefined)[] = [];

  /** @throws {SystemError} for a file that cannot be opened; {ImageError} for an image that cannot be used */
  constructor(drives: readonly CheckedDrive[]) {
    this.#drives = drives;
    try {
      drives.forEach((drive, n) => {
        if (drive.format === undefined) refuseOtherFormats(drive.file, `drives[${n}].file`);
        const overlay = drive.snapshot
          ? new TemporaryOverlay(describeDrive(this.#imageOf(drive, n)).size)
          : undefined;
        this.#overlays.push(overlay);
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** As the guest will find them. @throws as the constructor: an image may have changed meanwhile */
  get disks(): BlkDisk[] {
    return this.#drives.map((drive, n) => {
      const { readOnly, serial, queues, writeCache } = drive;
      const { size, blockSize } = describeDrive(this.#imageOf(drive, n));
      return { size, blockSize, readOnly, serial, queues, writeCache };
    });
  }

  /** As the io thread serves them. */
  get served(): IoDrive[] {
    return this.#drives.map((drive, n) => {
      const { rerror, werror, throttling } = drive;
      return { image: this.#imageOf(drive, n), rerror, werror, throttling };
    });
  }

  /** When no thread uses them any more. */
  close(): void {
    for (const overlay of this.#overlays) overlay?.close();
    this.#overlays.length = 0;
  }

  #imageOf(drive: CheckedDrive, n: number): DriveImage {
    const {
      file,
      format = "raw",
      readOnly,
      otherFiles,
      direct,
      durable,
      engine,
      discards,
      detectZeroes,
    } = drive;
    const overlay = this.#overlays[n]?.path;
    return { file, format, readOnly, otherFiles, direct, durable, engine, discards, detectZeroes, overlay };
  }
}

/** A guest would see the image's own tables as its disk, and destroy them with its first write. */
function refuseOtherFormats(file: string, option: string): void {
  const found = probeFormat(file);
  if (found === "raw") return;
  const use = isReadOnlyFormat(found) ? `"${found}" and read-only` : `"${found}"`;
  throw new OptionError(
    `${option}: "${file}" is a ${found} image; say format ${use} to use it, or say format "raw" to give the guest its bytes as they are`,
  );
}
