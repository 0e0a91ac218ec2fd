/** A guest's drive from its image: the one place that knows which format is opened how. */
import type { GuestMemory } from "../memory/guest-memory.ts";
import { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import type { BlockBackend } from "./backend.ts";
import { lockImage } from "./file-lock.ts";
import { GuestDisk } from "./image.ts";
import { RamMemory } from "./io-memory.ts";
import type { OtherFiles } from "./other-file.ts";
import { openQcow2 } from "./qcow2/open.ts";
import { type ImageFacts, RawImage } from "./raw.ts";

export const DRIVE_FORMATS = ["raw", "qcow2"] as const;
export type DriveFormat = (typeof DRIVE_FORMATS)[number];

/** What is needed to open a drive, as plain data. */
export interface DriveImage {
  readonly file: string;
  readonly format: DriveFormat;
  readonly readOnly: boolean;
  /** Which other files a qcow2 image may name. */
  readonly otherFiles: OtherFiles;
}

/**
 * Opens a drive for the RAM that its data moves to and from, and locks its image.
 * @throws {SystemError} for a file that cannot be opened; {ImageError} for an image that cannot be used
 */
export function openDrive(drive: DriveImage, ram: GuestRam, memory: GuestMemory): BlockBackend {
  const { file, format, readOnly, otherFiles } = drive;
  if (format === "raw") return RawImage.open(file, { readOnly, ram });
  return new GuestDisk(openQcow2(file, { readOnly, otherFiles }), new RamMemory(ram, memory));
}

/** What a drive is, before there is RAM to read it into. Says what opening it would. @throws as `openDrive` */
export function describeDrive({ file, format, readOnly, otherFiles }: DriveImage): ImageFacts {
  if (format === "raw") {
    using locked = HostFile.open(file, { readOnly });
    lockImage(locked, "raw");
    return RawImage.describe(file, { readOnly });
  }
  using image = openQcow2(file, { readOnly, otherFiles });
  return { size: image.size, blockSize: image.blockSize };
}
