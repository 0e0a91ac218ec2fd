/** A guest's drive from its image: the one place that knows which format is opened how. */

import { AsyncRam } from "../disk/async-ram.ts";
import { type DetectZeroes, GuestDisk } from "../disk/guest-disk.ts";
import type { DiskImage } from "../disk/image.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { type AsyncEngine, AsyncIo } from "../sys/async-io.ts";
import { SystemError } from "../sys/errors.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { CACHING, type CacheMode } from "./cache-mode.ts";
import type { ImageFormat } from "./formats.ts";
import { openImage } from "./open-image.ts";
import type { OtherFiles } from "./other-file.ts";
import { openQcow2 } from "./qcow2/open.ts";

/** What is needed to open a drive, as plain data. */
export interface DriveImage {
  readonly file: string;
  readonly format: ImageFormat;
  readonly readOnly: boolean;
  /** Which other files a qcow2 image may name. */
  readonly otherFiles: OtherFiles;
  /** Bytes of an image's tables, as `openQcow2` takes it. */
  readonly cacheBytes: number | undefined;
  readonly cache: CacheMode;
  readonly aio: AsyncEngine;
  /** Whether discarded ranges are returned to the host. */
  readonly discard: "unmap" | "ignore";
  readonly detectZeroes: DetectZeroes;
  /** Where what the guest writes goes: a qcow2 image as large as the disk. Undefined: to the image itself. */
  readonly overlay: string | undefined;
}

/** What a drive's data moves to and from. */
export interface DriveHost {
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  /** Requests have tags below this. */
  readonly tags: number;
  /** Hears what is not as it was asked for, and works all the same. */
  readonly note: (message: string) => void;
}

/** A drive as its image says it is. */
export interface ImageFacts {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly blockSize: number;
}

/** Requests that the host is given at a time; what a guest offers beyond that waits. */
const MAX_DEPTH = 1024;

/**
 * Opens a drive for the RAM that its data moves to and from, and locks its image.
 * @throws {SystemError} for a file that cannot be opened; {ImageError} for an image that cannot be used
 */
export function openDrive(drive: DriveImage, host: DriveHost): GuestDisk {
  const { aio, discard, detectZeroes } = drive;
  const image = openDriveImage(drive);
  try {
    const io = openAsyncIo(aio, host.ram, Math.min(MAX_DEPTH, host.tags), host.note);
    const ram = new AsyncRam(io, host.ram, host.memory, host.tags);
    return new GuestDisk(image, io, ram, { discards: discard === "unmap", detectZeroes });
  } catch (error) {
    image.close();
    throw error;
  }
}

/** What a drive is, before there is RAM to read it into. Says what opening it would. @throws as `openDrive` */
export function describeDrive(drive: DriveImage): ImageFacts {
  const image = openDriveImage(drive);
  try {
    return { size: image.size, blockSize: image.blockSize };
  } finally {
    image.close();
  }
}

function openDriveImage(drive: DriveImage): DiskImage {
  const { file, format, readOnly, otherFiles, cacheBytes, overlay } = drive;
  const { direct, durable } = CACHING[drive.cache];
  const options = { format, otherFiles, direct, durable, ...(cacheBytes !== undefined && { cacheBytes }) };
  if (overlay === undefined) return openImage(file, { ...options, readOnly });
  const backing = openImage(file, { ...options, readOnly: true });
  try {
    return openQcow2(overlay, { otherFiles: "none", durable: false, backing });
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
