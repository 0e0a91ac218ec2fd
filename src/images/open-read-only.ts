/** Opens images of the read-only formats, and detects them by their first bytes. Each image is one file. */

import { ImageError } from "../disk/image-error.ts";
import type { HostFile } from "../sys/file.ts";
import { lockImage } from "./file-lock.ts";
import { type Files, HOST_FILES } from "./files.ts";
import { READ_ONLY_FORMATS, type ReadOnlyFormat } from "./formats.ts";
import { ReadOnlyImage, type ReadOnlyParts } from "./read-only-image.ts";
import { looksLikeVdi, openVdi } from "./vdi.ts";
import { looksLikeVhd, openVhd } from "./vhd.ts";
import { looksLikeVhdx } from "./vhdx/header.ts";
import { openVhdx } from "./vhdx/open.ts";
import { looksLikeVmdk, openVmdk } from "./vmdk/open.ts";

/** Bytes of a file for the detection of its format. */
const PROBED = 2048;
const DEFAULT_CACHE = 32 * 2 ** 20;

interface Format {
  /** True if a file begins as such an image. */
  readonly matches: (head: Uint8Array) => boolean;
  readonly open: (file: HostFile, cacheBytes: number) => ReadOnlyParts;
}

const FORMATS: Readonly<Record<ReadOnlyFormat, Format>> = {
  vmdk: { matches: looksLikeVmdk, open: openVmdk },
  vpc: { matches: looksLikeVhd, open: openVhd },
  vhdx: { matches: looksLikeVhdx, open: openVhdx },
  vdi: { matches: looksLikeVdi, open: openVdi },
};

export interface OpenReadOnlyOptions {
  /** Must be true. */
  readonly readOnly: boolean;
  /** False: does not lock the image. */
  readonly lock: boolean;
  /** Bytes that its tables may take in memory; never more than they need. Default 32 MiB. */
  readonly cacheBytes?: number;
  /** How its file is opened. */
  readonly files?: Files;
}

/** The format of a file's first bytes. @throws {SystemError} if it cannot be read */
export function probeReadOnly(file: HostFile): ReadOnlyFormat | undefined {
  const head = new Uint8Array(PROBED);
  const start = head.subarray(0, file.read(head, 0));
  return READ_ONLY_FORMATS.find((name) => FORMATS[name].matches(start));
}

/**
 * @throws {ImageError} if it cannot be used, or a write is requested, or another program writes to it
 * @throws {SystemError} if the file cannot be opened or read
 */
export function openReadOnly(
  path: string,
  format: ReadOnlyFormat,
  options: OpenReadOnlyOptions,
): ReadOnlyImage {
  const { readOnly, lock, cacheBytes = DEFAULT_CACHE, files = HOST_FILES } = options;
  if (!readOnly) {
    throw new ImageError(
      path,
      `images of the format ${format} are only read; open it read-only, or convert it to qcow2`,
    );
  }
  const file = files.open(path, { readOnly: true });
  try {
    if (lock) lockImage(file, "format");
    return new ReadOnlyImage(file, FORMATS[format].open(file, cacheBytes));
  } catch (error) {
    file.close();
    throw error;
  }
}
