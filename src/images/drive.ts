/** Opens a guest's drive from its image, of any format. */

import type { DiskFacts } from "../disk/disk-facts.ts";
import { EMPTY_DISK } from "../disk/empty-disk.ts";
import { type DetectZeroes, GuestDisk } from "../disk/guest-disk.ts";
import type { DiskImage } from "../disk/image.ts";
import { Transfers } from "../disk/transfers.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type AsyncEngine, AsyncIo } from "../sys/async-io.ts";
import { SystemError } from "../sys/errors.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { CACHING, type CacheMode } from "./cache-mode.ts";
import { attachFiles, type Files, type FoundFiles } from "./files.ts";
import type { ImageFormat } from "./formats.ts";
import { openImage } from "./open-image.ts";
import type { OtherFiles } from "./other-file.ts";
import { openQcow2 } from "./qcow2/open.ts";

/** What the io thread needs to open a drive, as plain data. */
export interface DriveImage {
  /** Empty for a drive without a medium. */
  readonly file: string;
  readonly format: ImageFormat;
  readonly readOnly: boolean;
  /** The other files that a qcow2 image may name. */
  readonly otherFiles: OtherFiles;
  /** Bytes of an image's tables, as `openQcow2` takes it. */
  readonly cacheBytes: number | undefined;
  readonly cache: CacheMode;
  readonly aio: AsyncEngine;
  /** Whether discarded ranges are returned to the ports. */
  readonly discard: "unmap" | "ignore";
  readonly detectZeroes: DetectZeroes;
  /** Its files, which the machine has open. */
  readonly files: FoundFiles;
  /** The destination of the guest's writes: a qcow2 image as large as the disk. Undefined: the image itself. */
  readonly overlay: string | undefined;
}

/** The memory of a drive's requests, and where its notes go. */
export interface DrivePorts {
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  /** Requests have tags below this. */
  readonly tags: number;
  /** Called with a note if an option has no effect, without harm. */
  readonly note: (message: string) => void;
}

/** Requests in flight on the host, at most; others wait. */
const MAX_DEPTH = 1024;

/**
 * Opens a drive for transfers to and from this RAM, and locks its image.
 * @throws {SystemError} for a file that cannot be opened; {ImageError} for an image that cannot be used
 */
export function openDrive(drive: DriveImage, ports: DrivePorts): GuestDisk {
  const { aio, discard, detectZeroes } = drive;
  const image = openDriveImage(drive, attachFiles(drive.files), true);
  try {
    const io = openAsyncIo(aio, ports.ram, Math.min(MAX_DEPTH, ports.tags), ports.note);
    const transfers = new Transfers(io, ports.ram, ports.memory, ports.tags);
    return new GuestDisk(image, io, transfers, { discards: discard === "unmap", detectZeroes });
  } catch (error) {
    image.close();
    throw error;
  }
}

/** Opens the image of a drive whose medium is changed. @throws as `openDrive` */
export function openMedium(drive: DriveImage): DiskImage {
  return openDriveImage(drive, attachFiles(drive.files), true);
}

/**
 * The properties of a drive, before there is RAM. Changes nothing in its images.
 * @param files keeps what it finds, for `openDrive` @throws as `openDrive`
 */
export function describeDrive(drive: Omit<DriveImage, "files">, files: Files): DiskFacts {
  const image = openDriveImage(drive, files, false);
  try {
    const { size, readOnly, blockSize } = image;
    return { size, readOnly, blockSize };
  } finally {
    image.close();
  }
}

function openDriveImage(drive: Omit<DriveImage, "files">, files: Files, mayChange: boolean): DiskImage {
  const { file, format, readOnly, otherFiles, cacheBytes, overlay } = drive;
  if (file === "") return EMPTY_DISK;
  const { direct, durable } = CACHING[drive.cache];
  const options = {
    ...{ format, otherFiles, direct, durable, files, mayChange },
    ...(cacheBytes !== undefined && { cacheBytes }),
  };
  if (overlay === undefined) return openImage(file, { ...options, readOnly });
  const backing = openImage(file, { ...options, readOnly: true });
  try {
    return openQcow2(overlay, { otherFiles: "none", durable: false, backing, files, mayChange });
  } catch (error) {
    backing.close();
    throw error;
  }
}

function openAsyncIo(
  engine: AsyncEngine,
  ram: GuestRam,
  depth: number,
  note: (message: string) => void,
): AsyncIo {
  try {
    return AsyncIo.open(engine, ram, depth);
  } catch (error) {
    if (engine === "threads" || !(error instanceof SystemError)) throw error;
    note(`io_uring cannot be used here (${error.code}); threads do its work`);
    return AsyncIo.open("threads", ram, depth);
  }
}
