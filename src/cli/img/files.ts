/**
 * Images that are named on a command line: options that all sub-commands have,
 * and opening them with qemu-img's words for what goes wrong.
 *
 * Source: QEMU 7.2, qemu-img.c.
 */
import { didYouMean } from "../../base/errors.ts";
import { ImageError, ImageInUseError } from "../../disk/image-error.ts";
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
import { ImgError } from "./command.ts";
import type { Option } from "./options.ts";
import { parseSize } from "./sizes.ts";

/** What the options common to most sub-commands set. */
export interface FileOptions {
  format: string | undefined;
  quiet: boolean;
  shared: boolean;
  otherFiles: OtherFiles;
}

export function fileOptions(): FileOptions {
  return { format: undefined, quiet: false, shared: false, otherFiles: "folder" };
}

export const FORMAT: Option<FileOptions> = {
  names: ["f", "format"],
  argument: "FORMAT",
  help: `${IMAGE_FORMATS.join(", ")}; by default the file's first bytes decide`,
  set: (target, value) => {
    target.format = value;
  },
};

export const QUIET: Option<FileOptions> = {
  names: ["q"],
  help: "prints nothing but errors",
  set: (target) => {
    target.quiet = true;
  },
};

export const SHARED: Option<FileOptions> = {
  names: ["U", "force-share"],
  help: "reads an image that another program has open for writing; what is read may be torn",
  set: (target) => {
    target.shared = true;
  },
};

export const OTHER_FILES: Option<FileOptions> = {
  names: ["other-files"],
  argument: "folder|anywhere",
  help: "which backing and data files are followed: in the image's folder (default), or any",
  set: (target, value) => {
    if (value !== "folder" && value !== "anywhere") {
      throw new ImgError(`--other-files must be used with folder or anywhere as argument.`);
    }
    target.otherFiles = value;
  },
};

/** Option names of QEMU's cache modes: accepted and checked; all I/O goes through the host's page cache. */
const CACHE_MODES = ["none", "off", "writeback", "writethrough", "directsync", "unsafe"];

/** @param status of the process after a wrong one */
export function cacheOption(letter: string, kind: string, status = 1): Option<unknown> {
  return {
    names: [letter],
    argument: "CACHE",
    help: `accepted for ${kind} and of no effect`,
    set: (_target, value) => {
      if (!CACHE_MODES.includes(value)) {
        throw new ImgError(`Invalid ${letter === "T" ? "source " : ""}cache option: ${value}`, status);
      }
    },
  };
}

/** A limit of 0 is none. */
export const RATE_LIMIT: Option<{ rate: number | undefined }> = {
  names: ["r"],
  argument: "RATE",
  help: "bytes of data a second that are copied at most, as in 20M",
  set: (draft, value) => {
    draft.rate = parseSize(value, "rate limit") || undefined;
  },
};

/** Of qemu-img, and not here: said in a sentence instead of "unrecognized option". */
export const REFUSED: readonly Option<unknown>[] = [
  {
    names: ["image-opts"],
    help: "is not there: name the file, and its format with -f",
    set: () => {
      throw new ImgError("--image-opts is not there in this version; name the file, and its format with -f");
    },
  },
  {
    names: ["object"],
    argument: "OBJECT",
    help: "is not there: nothing here needs secrets or other objects",
    set: () => {
      throw new ImgError("--object is not there in this version: it has no use for secrets or other objects");
    },
  },
];

export const OUTPUT: Option<{ json: boolean }> = {
  names: ["output"],
  argument: "human|json",
  help: "how the answer is printed",
  set: (target, value) => {
    if (value !== "human" && value !== "json") {
      throw new ImgError("--output must be used with human or json as argument.");
    }
    target.json = value === "json";
  },
};

/** The format of that name. @param complain makes the error of the sentence */
export function formatNamed(name: string, complain: (meant: string) => Error): ImageFormat {
  const format = IMAGE_FORMATS.find((known) => known === name);
  if (format === undefined) throw complain(didYouMean(name, IMAGE_FORMATS));
  return format;
}

/** The same of an image that is to be made. @param refuse makes the error for a format that is only read */
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
  if (options.shared && !readOnly) {
    throw new ImgError(
      `Could not open '${path}': force-share=on can only be used with read-only images`,
      status,
    );
  }
  try {
    return openImage(path, {
      readOnly,
      otherFiles: options.otherFiles,
      lock: !options.shared,
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

/** For a file that is written to, and that only its first bytes say is raw. Empty for others. */
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

/** As errors have it. */
function pathOf(name: string): string {
  try {
    return fileNamed(name);
  } catch {
    return name;
  }
}

/** Why a file could not be opened or made, in QEMU's words where it has good ones. Our own errors only. */
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
    const text = error.syscall === "open" ? OPEN_ERRORS.get(error.code) : undefined;
    if (error.code === "EISDIR" && doing === "open")
      return `'file' driver requires '${path}' to be a regular file`;
    if (text !== undefined && error.message.startsWith(`opening ${path}:`)) {
      return `Could not ${doing} '${path}': ${text}`;
    }
    return error.message;
  }
  throw error;
}
