/**
 * `vmexit img convert`: copies disks into a new image of any format.
 *
 * Source: QEMU 11.1, qemu-img.c (img_convert). Options for how QEMU copies (-m, -W,
 * -C, -t, -T) are accepted and have no effect: pieces of 2 MiB go through the
 * host's page cache, and the next piece is read while one is written.
 */

import { text, typed } from "../../config/value.ts";
import { JoinedDisk } from "../../disk/joined-disk.ts";
import { copyDisk } from "../../image-tools/copy.ts";
import { createImage } from "../../image-tools/create-image.ts";
import { nameOfFile } from "../../images/file-name.ts";
import type { WritableFormat } from "../../images/formats.ts";
import type { OpenedImage } from "../../images/open-image.ts";
import { bitmapsOf, copyBitmaps } from "../../images/qcow2/change-bitmaps.ts";
import type { MadeImage } from "../../images/qcow2/create.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { RemoteDisk } from "../../nbd/remote-disk.ts";
import { SystemError } from "../../sys/errors.ts";
import { backingPath, backingSize, checkBackingName } from "./backing.ts";
import type { ImgCommand, ImgOutput, TextOutput } from "./command.ts";
import {
  asksForHelp,
  type Creation,
  createOptions,
  creationHelp,
  parseCreation,
  snapshotRow,
  targetRows,
} from "./creation.ts";
import {
  cacheRow,
  formatRow,
  OTHER_FILES,
  open,
  openSnapshot,
  QUIET,
  RATE_LIMIT,
  REFUSED,
  SHARED,
  whyNotOpened,
  writableFormatNamed,
} from "./files.ts";
import { ImgError } from "./img-error.ts";
import { flag, ignored, type Read, readCommandLine, refused } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";
import { parseSize, sizeRangeError } from "./sizes.ts";

const DEFAULT_SPARSE = 4096;
const MAX_SPARSE = 2 ** 24;
const MAX_COROUTINES = 16;

const OPTIONS = {
  format: formatRow(["f", "source-format"]),
  sourceCache: cacheRow(["T", "source-cache"]),
  snapshot: snapshotRow(["l", "snapshot"]),
  bitmaps: flag(["bitmaps"], "also copy the dirty bitmaps of the source"),
  skipBrokenBitmaps: flag(["skip-broken-bitmaps"], "skip dirty bitmaps that are inconsistent"),
  salvage: flag(["salvage"], "replace what cannot be read by zeros, and report it"),
  ...targetRows("O", "target-format", ["target-format-options"]),
  targetCache: cacheRow(["t", "target-cache"]),
  backing: {
    names: ["b", "B", "backing"],
    type: text("BACKING_FILE"),
    help: "create an image over BACKING_FILE, which has the contents of the source's backing file",
  },
  backingFormat: {
    names: ["F", "backing-format"],
    type: text("FMT"),
    help: "the format of BACKING_FILE; required",
  },
  sparse: {
    names: ["S", "sparse-size"],
    type: typed("SIZE", sparseSize),
    help: "leave out zeros of this length (default: 4k); 0 writes every byte",
  },
  existing: flag(["n", "no-create"], "write to an image that exists"),
  targetIsZero: flag(["target-is-zero"], "with -n: the target reads as zeros everywhere"),
  compressed: flag(["c", "compress"], "compress the new image (qcow2)"),
  ...SHARED,
  ...RATE_LIMIT,
  parallel: ignored(["m", "parallel"], "number of coroutines", typed("NUM", coroutines)),
  offload: flag(["C", "copy-range-offloading"], "copy offloading: accepted, without effect"),
  outOfOrder: ignored(["W", "oob-writes"], "out-of-order writes"),
  ...PROGRESS,
  ...QUIET,
  ...OTHER_FILES,
  targetImageOpts: refused(["target-image-opts"], "", "name the target, and its format with -O"),
  ...REFUSED,
} as const;

type ConvertOptions = Read<typeof OPTIONS>;

interface ConvertDraft extends ConvertOptions {
  /** The bitmaps that are copied. */
  readonly bitmapNames?: readonly string[];
}

function coroutines(value: string): number {
  const count = /^\d+$/.test(value) ? Number(value) : undefined;
  if (count === undefined) throw new ImgError(`Invalid number of coroutines specified: '${value}'`);
  if (count < 1 || count > MAX_COROUTINES) throw sizeRangeError("number of coroutines", 1, MAX_COROUTINES);
  return count;
}

function sparseSize(value: string): number {
  const bytes = parseSize(value, "buffer size for sparse output");
  if (bytes % 512 === 0 && bytes <= MAX_SPARSE) return bytes;
  throw new ImgError(
    `Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to ${MAX_SPARSE}. Select 0 to disable sparse detection (fully allocates output).`,
  );
}

export const convert: ImgCommand = {
  name: "convert",
  operands: "SRC_FILE… TGT_FILE",
  help: "copies one or more disks into a new image",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    const { targetFormat: typed } = draft;
    const format = writableFormatNamed(
      typed,
      (meant) => new ImgError(`Unknown file format '${typed}'${meant}`),
      (why) => new ImgError(why),
    );
    if (asksForHelp(draft.creation)) {
      output.stdout.write(creationHelp(format, operands.at(-1)));
      return 0;
    }
    checkTogether(draft, format, operands);
    const sources: OpenedImage[] = [];
    try {
      for (const path of operands.slice(0, -1)) sources.push(openSource(path, draft));
      const bitmaps = bitmapsToCopy(sources[0], draft, output.stderr);
      convertTo(operands[operands.length - 1], format, sources, { ...draft, bitmapNames: bitmaps }, output);
    } finally {
      for (const source of sources) source.close();
    }
    return 0;
  },
};

/** Checks what does not need an open file. */
function checkTogether(draft: ConvertDraft, format: WritableFormat, operands: readonly string[]): void {
  if (draft.offload && draft.sparse !== undefined)
    throw new ImgError("Cannot enable copy offloading when -S is used");
  if (draft.offload && draft.compressed) throw new ImgError("Cannot enable copy offloading when -c is used");
  if (draft.skipBrokenBitmaps && !draft.bitmaps) {
    throw new ImgError("Use of --skip-broken-bitmaps requires --bitmaps");
  }
  if (draft.targetIsZero && !draft.existing) throw new ImgError("--target-is-zero requires use of -n flag");
  if (draft.existing && draft.creation.length > 0) {
    throw new ImgError("-o has no effect when skipping image creation");
  }
  if (operands.length < 2) throw new ImgError("Must specify image file name");
  if (draft.compressed && format === "raw")
    throw new ImgError("Compression not supported for this file format");
  if (draft.backing !== undefined && operands.length > 2) {
    throw new ImgError(
      "Having a backing file for the target makes no sense when concatenating multiple input images",
    );
  }
  if (draft.snapshot !== undefined && operands.length > 2) {
    throw new ImgError("No support for concatenating multiple snapshot");
  }
  if (draft.backing !== undefined && format === "raw") {
    throw new ImgError("Backing file not supported for file format 'raw'");
  }
  if (draft.backingFormat !== undefined && format === "raw") {
    throw new ImgError("Backing file format not supported for file format 'raw'");
  }
  if (draft.bitmaps && operands.length > 2)
    throw new ImgError("Copying bitmaps only possible with single source");
  const isOld = parseCreation(draft.creation, format, (sentence) => new ImgError(sentence)).get("compat");
  if (draft.bitmaps && (format === "raw" || isOld === "0.10" || isOld === "v2")) {
    throw new ImgError(`Format driver '${format}' does not support bitmaps`);
  }
}

/** The names of the bitmaps that will be copied. @throws {ImgError} if one is inconsistent */
function bitmapsToCopy(source: OpenedImage, draft: ConvertDraft, stderr: TextOutput): readonly string[] {
  if (!draft.bitmaps) return [];
  if (!(source instanceof Qcow2Image)) throw new ImgError("Source lacks bitmap support");
  return bitmapsOf(source).flatMap(({ name, inUse }) => {
    if (!inUse) return [name];
    if (!draft.skipBrokenBitmaps) {
      throw new ImgError(
        `Cannot copy inconsistent bitmap '${name}'\nTry --skip-broken-bitmaps, or use 'vmexit img bitmap --remove' to delete it`,
      );
    }
    stderr.write(`vmexit img: warning: Skipping inconsistent bitmap '${name}'\n`);
    return [];
  });
}

function copyBitmapsTo(target: OpenedImage, source: OpenedImage, names: readonly string[]): void {
  if (names.length === 0 || !(target instanceof Qcow2Image) || !(source instanceof Qcow2Image)) return;
  copyBitmaps(source, target, names);
}

function openSource(path: string, draft: ConvertDraft): OpenedImage {
  const { snapshot } = draft;
  return snapshot === undefined ? open(path, draft) : openSnapshot(path, snapshot, draft);
}

function convertTo(
  path: string,
  format: WritableFormat,
  sources: readonly OpenedImage[],
  draft: ConvertDraft,
  output: ImgOutput,
): void {
  const { existing } = draft;
  const total = totalSize(sources);
  const made = existing ? undefined : makeTarget(path, format, total, draft);
  try {
    fillTarget(path, format, sources, draft, output, made?.creation);
  } catch (error) {
    made?.image.undo();
    throw error;
  }
}

function fillTarget(
  path: string,
  format: WritableFormat,
  sources: readonly OpenedImage[],
  draft: ConvertDraft,
  { stdout, stderr }: ImgOutput,
  creation: Creation | undefined,
): void {
  const { existing, compressed, sparse = DEFAULT_SPARSE, quiet } = draft;
  const total = totalSize(sources);
  const backing = existing ? draft.backing : creation?.get("backing_file");
  using target = openTarget(path, format, draft, !existing);
  if (target.size < total) throw new ImgError("output file is smaller than input file");
  const progress = new Progress(draft.progress && !quiet ? stdout : undefined);
  const source = sources.length === 1 ? sources[0] : new JoinedDisk(sources);
  try {
    copyDisk(source, target, {
      sparse,
      compressed,
      targetIsZero: draft.targetIsZero || (!existing && isNewFile(target)),
      ...(backing !== undefined && { sharedBytes: sharedBytes(path, backing, target, draft, creation) }),
      ...(draft.salvage && {
        unreadable: (offset: number, error: Error) => {
          if (quiet) return;
          stderr.write(
            `vmexit img: warning: error while reading offset ${offset}: ${whyUnreadable(error)}\n`,
          );
        },
      }),
      rate: draft.rate,
      progress: (done) => progress.show(done / total),
    });
    copyBitmapsTo(target, sources[0], draft.bitmapNames ?? []);
    target.flush();
  } catch (error) {
    throw new ImgError(`error while converting to '${path}': ${whyNotOpened(path, error)}`);
  }
  if (draft.progress && !quiet) progress.end();
}

function totalSize(sources: readonly OpenedImage[]): number {
  return sources.reduce((sum, { size }) => sum + size, 0);
}

/** QEMU reports any damage of an image as an input/output error. */
function whyUnreadable(error: Error): string {
  return error instanceof SystemError && error.code !== "EIO" ? error.message : "Input/output error";
}

interface Made {
  readonly image: MadeImage;
  /** How it was made. */
  readonly creation: Creation;
}

function makeTarget(path: string, format: WritableFormat, total: number, draft: ConvertDraft): Made {
  const fail = (sentence: string) => new ImgError(sentence);
  const failAt = (sentence: string) => new ImgError(`${path}: error while converting ${format}: ${sentence}`);
  const creation = parseCreation(draft.creation, format, fail);
  creation.set("size", String(total));
  if (draft.backing !== undefined) creation.set("backing_file", draft.backing);
  if (draft.backingFormat !== undefined && format === "qcow2")
    creation.set("backing_fmt", draft.backingFormat);
  if (draft.compressed && (creation.get("preallocation") ?? "off") !== "off") {
    throw fail("Compression and preallocation not supported at the same time");
  }
  if (draft.compressed && creation.has("data_file")) {
    throw fail("Compression and an external data file do not go together");
  }
  const backing = creation.get("backing_file");
  if (backing !== undefined) {
    if (!creation.has("backing_fmt")) throw fail("Use of backing file requires explicit backing format");
    checkBackingName(path, backing, failAt);
    backingSize(path, creation, draft, fail);
  }
  const options = createOptions(creation, format, failAt);
  try {
    return { image: createImage(path, options), creation };
  } catch (error) {
    throw failAt(whyNotOpened(path, error, "create"));
  }
}

/** A new image that a crash of the host damages can be made again, so nothing waits for stable storage. */
function openTarget(path: string, format: WritableFormat, draft: ConvertDraft, isNew: boolean): OpenedImage {
  // The backing file of a new image was named on the command line.
  const otherFiles = isNew ? "anywhere" : draft.otherFiles;
  return open(path, { format, otherFiles }, { readOnly: false, durable: !isNew });
}

/** A device, or a disk on a server, keeps what it had. */
function isNewFile(target: OpenedImage): boolean {
  return !(target instanceof RemoteDisk || target.file.isBlockDevice);
}

/** Bytes of the target's backing file, which has what the source's backing file has. */
function sharedBytes(
  path: string,
  backing: string,
  target: OpenedImage,
  draft: ConvertDraft,
  creation: Creation | undefined,
): number {
  if (target instanceof Qcow2Image && target.backing !== undefined) return target.backing.size;
  const format = creation?.get("backing_fmt") ?? draft.backingFormat;
  using below = open(nameOfFile(backingPath(path, backing)), { ...draft, format, shared: false });
  return below.size;
}
