/**
 * Images that are named on a command line: options that most sub-commands have,
 * and opening them, with qemu-img's messages for what goes wrong.
 *
 * Source: QEMU 11.1, qemu-img.c.
 */
import { didYouMean } from "../../base/errors.ts";
import { text, typed } from "../../config/value.ts";
import { ImageError, ImageInUseError } from "../../disk/image-error.ts";
import { CACHE_MODES } from "../../images/cache-mode.ts";
import { fileNamed } from "../../images/file-name.ts";
import {
  IMAGE_FORMATS,
  type ImageFormat,
  isWritableFormat,
  type WritableFormat,
} from "../../images/formats.ts";
import { type OpenedImage, openImage } from "../../images/open-image.ts";
import type { OtherFiles } from "../../images/other-file.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import type { Qcow2Options } from "../../images/qcow2/open.ts";
import type { StoredSnapshot } from "../../images/qcow2/snapshot-table.ts";
import { listSnapshots } from "../../images/qcow2/snapshots.ts";
import { SystemError } from "../../sys/errors.ts";
import { splitKeyValues } from "../key-values.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { flag, ignored, refused } from "./options.ts";
import { parseSize } from "./sizes.ts";

/** Options of the command line for opening a file. */
export interface FileOptions {
  readonly format?: string | undefined;
  readonly shared?: boolean;
  readonly otherFiles?: OtherFiles;
}

/** @param names of the option */
export function formatRow(names: readonly string[]) {
  const help = `the format of FILE: ${IMAGE_FORMATS.join(", ")} (default: the first bytes decide)`;
  return { names, type: text("FMT"), help } as const;
}

export const FORMAT = { format: formatRow(["f", "format"]) };
export const QUIET = { quiet: flag(["q", "quiet"], "print only errors") };
export const SHARED = {
  shared: flag(["U", "force-share"], "read an image that another program has open for writing"),
};

export const OTHER_FILES = {
  otherFiles: {
    names: ["other-files"],
    type: typed("folder|anywhere", (value): OtherFiles => {
      if (value === "folder" || value === "anywhere") return value;
      throw new UsageError(`--other-files expects 'folder' or 'anywhere', not '${value}'`);
    }),
    default: "folder",
    help: "follow backing and data files in the image's folder (default), or any",
  },
} as const;

/** QEMU's cache modes, with an older name of "none". Here all I/O goes through the host's page cache. */
const CACHE_WORDS: readonly string[] = [...CACHE_MODES, "off"];

/**
 * An option for a cache mode.
 * @param status of the process after a wrong one
 */
export function cacheRow(names: readonly string[], status = 1) {
  const kind = typed("CACHE", (value) => {
    if (CACHE_WORDS.includes(value)) return value;
    throw new ImgError(`Invalid ${names.includes("T") ? "source " : ""}cache option: ${value}`, status);
  });
  return ignored(names, "cache mode", kind);
}

/** 0 means no limit. */
export const RATE_LIMIT = {
  rate: {
    names: ["r", "rate-limit"],
    type: typed("RATE", (value) => parseSize(value, "rate limit") || undefined),
    help: "copy at most RATE bytes of data per second, as in 20M",
  },
} as const;

/** Options of qemu-img that are refused in a sentence. */
export const REFUSED = {
  imageOpts: refused(["image-opts"], "", "name the file, and its format with -f"),
  object: refused(["object"], "OBJDEF", "there are no secrets or other objects"),
};

export const OUTPUT = {
  json: {
    names: ["output"],
    type: typed("human|json", (value) => {
      if (value === "human" || value === "json") return value === "json";
      throw new UsageError(`--output expects 'human' or 'json', not '${value}'`);
    }),
    default: false,
    help: "how the answer is printed (default: human)",
  },
} as const;

/** The format of that name. @param complain makes the error of the sentence */
export function formatNamed(name: string, complain: (meant: string) => Error): ImageFormat {
  const format = IMAGE_FORMATS.find((known) => known === name);
  if (format === undefined) throw complain(didYouMean(name, IMAGE_FORMATS));
  return format;
}

/** The same for a new image. @param refuse makes the error for a read-only format */
export function writableFormatNamed(
  name: string,
  complain: (meant: string) => Error,
  refuse: (sentence: string) => Error,
): WritableFormat {
  const format = formatNamed(name, complain);
  if (!isWritableFormat(format)) throw refuse(`Format driver '${format}' does not support image creation`);
  return format;
}

/** Opens an image for reading, or with `readOnly: false` for writing. @throws {ImgError} */
export function open(path: string, options: FileOptions, more: Qcow2Options = {}, status = 1): OpenedImage {
  const format =
    options.format === undefined
      ? undefined
      : formatNamed(
          options.format,
          (meant) =>
            new ImgError(`Could not open '${path}': Unknown driver '${options.format}'${meant}`, status),
        );
  const readOnly = more.readOnly ?? true;
  if (options.shared === true && !readOnly) {
    throw new ImgError(
      `Could not open '${path}': force-share=on can only be used with read-only images`,
      status,
    );
  }
  try {
    return openImage(path, {
      readOnly,
      otherFiles: options.otherFiles ?? "folder",
      lock: options.shared !== true,
      ...more,
      ...(format !== undefined && { format }),
    });
  } catch (error) {
    throw new ImgError(`Could not open '${path}': ${whyNotOpened(path, error)}`, status);
  }
}

/**
 * Opens a disk as it was when a snapshot was taken, for reading.
 * @param typed an id or name, or snapshot.id=ID,snapshot.name=NAME
 */
export function openSnapshot(path: string, typed: string, options: FileOptions): OpenedImage {
  const wanted = snapshotNamed(typed);
  const fail = (why: string) => new ImgError(`Failed to load snapshot: ${why}`);
  {
    using image = open(path, options);
    if (!(image instanceof Qcow2Image)) {
      throw fail(
        `Block format '${image.format}' used by device '' does not support temporarily loading internal snapshots`,
      );
    }
    const isWanted = ({ id, name }: StoredSnapshot) => id === wanted || name === wanted;
    if (!listSnapshots(image).some(isWanted)) throw fail("Can't find snapshot");
  }
  return open(path, options, { snapshot: wanted });
}

function snapshotNamed(typed: string): string {
  if (!/^snapshot\.(id|name)=/.test(typed)) return typed;
  const pairs = new Map(splitKeyValues(typed).map(({ key, value }) => [key, value]));
  return pairs.get("snapshot.id") ?? pairs.get("snapshot.name") ?? typed;
}

/** The warning for a file that will be written, and whose format was probed as raw. Empty for others. */
export function probedRawWarning({ path, format }: OpenedImage, options: FileOptions): string {
  if (format !== "raw" || options.format !== undefined) return "";
  return `WARNING: Image format was not specified for '${path}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
`;
}

const OPEN_ERRORS = new Map([
  ["EISDIR", "Is a directory"],
  ["ENOENT", "No such file or directory"],
  ["EACCES", "Permission denied"],
  ["EROFS", "Read-only file system"],
]);

/** The path in the messages of errors. */
function pathOf(name: string): string {
  try {
    return fileNamed(name);
  } catch {
    return name;
  }
}

/** Why a file could not be opened or created, in QEMU's words if it has a message for it. Rethrows other errors. */
export function whyNotOpened(name: string, error: unknown, doing = "open"): string {
  const path = pathOf(name);
  if (error instanceof ImageInUseError) {
    const inChain = error.path === path ? "" : "Could not open backing file: ";
    return `${inChain}Failed to get ${error.lock}\nIs another process using the image [${error.path}]?`;
  }
  if (error instanceof ImageError) {
    if (error.message === `${path}: this is not a qcow2 image`) return "Image is not in qcow2 format";
    return error.path === path ? error.message.slice(path.length + 2) : error.message;
  }
  if (error instanceof SystemError) {
    const why = error.syscall === "open" ? OPEN_ERRORS.get(error.code) : undefined;
    if (error.code === "EISDIR" && doing === "open")
      return `'file' driver requires '${path}' to be a regular file`;
    if (why !== undefined && error.message.startsWith(`opening ${path}:`)) {
      return `Could not ${doing} '${path}': ${why}`;
    }
    return error.message;
  }
  throw error;
}
