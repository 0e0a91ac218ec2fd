/**
 * `vmexit img convert`: copies disks into a new image of any format.
 *
 * Source: QEMU 7.2, qemu-img.c (img_convert). Options for how QEMU does it (-m,
 * -W, -C, -t, -T) are accepted and have no effect: pieces of 2 MiB are moved
 * through the host's page cache, the next one read while one is written.
 */
import { JoinedDisk } from "../../disk/joined-disk.ts";
import { copyDisk } from "../../image-tools/copy.ts";
import { createImage } from "../../image-tools/create-image.ts";
import { nameOfFile } from "../../images/file-name.ts";
import type { WritableFormat } from "../../images/formats.ts";
import type { OpenedImage } from "../../images/open-image.ts";
import { listBitmaps } from "../../images/qcow2/bitmap-directory.ts";
import type { MadeImage } from "../../images/qcow2/create.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { RemoteDisk } from "../../nbd/remote-disk.ts";
import { SystemError } from "../../sys/errors.ts";
import { backingPath, backingSize, checkBackingName } from "./backing.ts";
import { type ImgCommand, ImgError, type ImgOutput } from "./command.ts";
import { asksForHelp, type Creation, createOptions, creationHelp, parseCreation } from "./creation.ts";
import {
  cacheOption,
  type FileOptions,
  FORMAT,
  fileOptions,
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
import { type Option, parseOptions } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";
import { parseSize } from "./sizes.ts";

interface ConvertDraft extends FileOptions {
  targetFormat: string;
  creation: string[];
  backing: string | undefined;
  backingFormat: string | undefined;
  compressed: boolean;
  /** The target is there already. */
  existing: boolean;
  targetIsZero: boolean;
  progress: boolean;
  sparse: number;
  /** -S was given. */
  sparseGiven: boolean;
  offload: boolean;
  salvage: boolean;
  bitmaps: boolean;
  rate: number | undefined;
  skipBrokenBitmaps: boolean;
  snapshot: string | undefined;
}

const MAX_SPARSE = 2 ** 24;

const OPTIONS: readonly Option<ConvertDraft>[] = [
  FORMAT,
  {
    names: ["O"],
    argument: "FORMAT",
    help: "of the new image: raw (default) or qcow2",
    set: (draft, value) => {
      draft.targetFormat = value;
    },
  },
  {
    names: ["o"],
    argument: "KEY=VALUE,…",
    help: "how the new image is made; -o help lists the keys",
    set: (draft, value) => {
      draft.creation.push(value);
    },
  },
  {
    names: ["c"],
    help: "compresses the new image (qcow2)",
    set: (draft) => {
      draft.compressed = true;
    },
  },
  {
    names: ["B"],
    argument: "FILE",
    help: "the new image stands on FILE, which has what is below the first image already",
    set: (draft, value) => {
      draft.backing = value;
    },
  },
  {
    names: ["F"],
    argument: "FORMAT",
    help: "the backing file's format; required with -B",
    set: (draft, value) => {
      draft.backingFormat = value;
    },
  },
  {
    names: ["n"],
    help: "writes into an image that is there already",
    set: (draft) => {
      draft.existing = true;
    },
  },
  {
    names: ["target-is-zero"],
    help: "with -n: that image reads as zeros all over",
    set: (draft) => {
      draft.targetIsZero = true;
    },
  },
  {
    names: ["S"],
    argument: "SIZE",
    help: "zeros of this length are left out (default 4k); 0 writes every byte",
    set: (draft, value) => {
      draft.sparse = sparseSize(value);
      draft.sparseGiven = true;
    },
  },
  {
    names: ["l"],
    argument: "SNAPSHOT",
    help: "copies what the disk was then: an id or name, or snapshot.id=ID,snapshot.name=NAME",
    set: (draft, value) => {
      draft.snapshot = value;
    },
  },
  PROGRESS,
  QUIET,
  SHARED,
  OTHER_FILES,
  cacheOption("t", "writing"),
  cacheOption("T", "reading"),
  {
    names: ["m"],
    argument: "N",
    help: "accepted, 1 to 16, and of no effect",
    set: (_draft, value) => {
      if (!/^\d+$/.test(value) || Number(value) < 1 || Number(value) > 16) {
        throw new ImgError("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
      }
    },
  },
  { names: ["W"], help: "accepted and of no effect", set: () => {} },
  {
    names: ["C"],
    help: "accepted and of no effect",
    set: (draft) => {
      draft.offload = true;
    },
  },
  RATE_LIMIT,
  {
    names: ["salvage"],
    help: "what cannot be read becomes zeros, and is named",
    set: (draft) => {
      draft.salvage = true;
    },
  },
  {
    names: ["bitmaps"],
    help: "copies dirty bitmaps: refused if there are any",
    set: (draft) => {
      draft.bitmaps = true;
    },
  },
  {
    names: ["skip-broken-bitmaps"],
    help: "with --bitmaps: does without those that were not stored properly",
    set: (draft) => {
      draft.skipBrokenBitmaps = true;
    },
  },
  {
    names: ["target-image-opts"],
    help: "is not there: name the target, and its format with -O",
    set: () => {
      throw new ImgError(
        "--target-image-opts is not there in this version; name the target, and its format with -O",
      );
    },
  },
  ...REFUSED,
];

function sparseSize(value: string): number {
  const bytes = parseSize(value, "buffer size for sparse output");
  if (bytes % 512 === 0 && bytes <= MAX_SPARSE) return bytes;
  throw new ImgError(
    `Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to ${MAX_SPARSE}. Select 0 to disable sparse detection (fully allocates output).`,
  );
}

export const convert: ImgCommand = {
  name: "convert",
  operands: "filename [filename2 …] output_filename",
  help: "copies a disk, or several behind one another, into a new image",
  options: OPTIONS,
  run: (argv, output) => {
    const draft: ConvertDraft = {
      ...fileOptions(),
      targetFormat: "raw",
      creation: [],
      backing: undefined,
      backingFormat: undefined,
      compressed: false,
      existing: false,
      targetIsZero: false,
      progress: false,
      sparse: 4096,
      sparseGiven: false,
      offload: false,
      salvage: false,
      bitmaps: false,
      rate: undefined,
      skipBrokenBitmaps: false,
      snapshot: undefined,
    };
    const operands = parseOptions(argv, OPTIONS, draft);
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
      if (draft.bitmaps) sources.forEach(checkBitmaps);
      convertTo(operands[operands.length - 1], format, sources, draft, output);
    } finally {
      for (const source of sources) source.close();
    }
    return 0;
  },
};

/** What can be said before any file is opened. */
function checkTogether(draft: ConvertDraft, format: WritableFormat, operands: readonly string[]): void {
  if (draft.offload && draft.sparseGiven) throw new ImgError("Cannot enable copy offloading when -S is used");
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
  if (draft.bitmaps && format === "raw") throw new ImgError("Format driver 'raw' does not support bitmaps");
}

/** Copying bitmaps is not there; that there are none to copy is fine. */
function checkBitmaps(source: OpenedImage): void {
  if (!(source instanceof Qcow2Image))
    throw new ImgError("This will only work for sources that have bitmaps");
  if (listBitmaps(source.file, source.header).length === 0) return;
  throw new ImgError(
    `${source.path} has dirty bitmaps, which this version cannot copy; without --bitmaps the disk alone is converted`,
  );
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
  const { existing, compressed, sparse, quiet } = draft;
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
    target.flush();
  } catch (error) {
    throw new ImgError(`error while converting to '${path}': ${whyNotOpened(path, error)}`);
  }
  if (draft.progress && !quiet) progress.end();
}

function totalSize(sources: readonly OpenedImage[]): number {
  return sources.reduce((sum, { size }) => sum + size, 0);
}

/** In QEMU's words, to which all of an image's damages are errors of input. */
function whyUnreadable(error: Error): string {
  return error instanceof SystemError && error.code !== "EIO" ? error.message : "Input/output error";
}

interface Made {
  readonly image: MadeImage;
  /** How. */
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

/** A new image that a crash of the host would spoil can be made again; one that was there cannot. */
function openTarget(path: string, format: WritableFormat, draft: ConvertDraft, isNew: boolean): OpenedImage {
  // What a new image stands on was named on the command line, or by it.
  const otherFiles = isNew ? "anywhere" : draft.otherFiles;
  return open(path, { ...fileOptions(), format, otherFiles }, { readOnly: false, durable: !isNew });
}

/** What was there on a device, or on a server, is still there. */
function isNewFile(target: OpenedImage): boolean {
  return !(target instanceof RemoteDisk || target.file.isBlockDevice);
}

/** Bytes of the disk below the target, which has what is below the source's own image. */
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
