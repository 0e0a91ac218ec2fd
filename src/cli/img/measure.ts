/** `vmexit img measure`: calculates how long the file of a new image will be. Source: QEMU 11.1, qemu-img.c (img_measure). */

import { ImageError } from "../../disk/image-error.ts";
import { type Measure, type MeasureOptions, measureImage } from "../../image-tools/measure.ts";
import type { WritableFormat } from "../../images/formats.ts";
import type { ImgCommand } from "./command.ts";
import { createOptions, parseCreation, snapshotRow, targetRows } from "./creation.ts";
import {
  FORMAT,
  OTHER_FILES,
  OUTPUT,
  open,
  openSnapshot,
  REFUSED,
  SHARED,
  whyNotOpened,
  writableFormatNamed,
} from "./files.ts";
import { ImgError } from "./img-error.ts";
import { jsonText } from "./json.ts";
import { type Read, readCommandLine } from "./options.ts";
import { sizeKind } from "./sizes.ts";

const OPTIONS = {
  ...FORMAT,
  snapshot: snapshotRow(["l", "snapshot"]),
  ...targetRows("O", "target-format", []),
  ...OUTPUT,
  ...SHARED,
  size: {
    names: ["s", "size"],
    type: sizeKind("image size"),
    help: "measure an empty disk of SIZE bytes instead of FILE",
  },
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type MeasureDraft = Read<typeof OPTIONS>;

export const measure: ImgCommand = {
  name: "measure",
  operands: "[--size SIZE | FILE]",
  help: "calculates how much storage a new image needs",
  options: OPTIONS,
  run: (argv, { stdout }) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    if (operands.length > 1) throw new ImgError("At most one filename argument is allowed.");
    const [path] = operands;
    if (path === undefined && (draft.format !== undefined || draft.snapshot !== undefined)) {
      throw new ImgError("--image-opts, -f, and -l require a filename argument.");
    }
    if (path === undefined && draft.size === undefined) {
      throw new ImgError("Either --size N or one filename must be specified.");
    }
    if (path !== undefined && draft.size !== undefined) {
      throw new ImgError("--size N cannot be used together with a filename.");
    }
    const found = path === undefined ? measureSize(draft.size ?? 0, draft) : measureFile(path, draft);
    stdout.write(draft.json ? jsonText(jsonOf(found)) : textOf(found));
    return 0;
  },
};

function measureSize(size: number, draft: MeasureDraft): Measure {
  return measured(size, measureOptions(draft, targetFormat(draft), false));
}

function measureFile(path: string, draft: MeasureDraft): Measure {
  const { snapshot } = draft;
  using image = snapshot === undefined ? open(path, draft) : openSnapshot(path, snapshot, draft);
  return measured(image, measureOptions(draft, targetFormat(draft), true));
}

function measured(disk: Parameters<typeof measureImage>[0], options: MeasureOptions): Measure {
  try {
    return measureImage(disk, options);
  } catch (error) {
    throw new ImgError(whyNotOpened(error instanceof ImageError ? error.path : "", error));
  }
}

function targetFormat({ targetFormat: name }: MeasureDraft): WritableFormat {
  return writableFormatNamed(
    name,
    (meant) => new ImgError(`Unknown file format '${name}'${meant}`),
    () => new ImgError(`Block driver '${name}' does not support size measurement`),
  );
}

/** @param holds something will be copied into the image */
function measureOptions(draft: MeasureDraft, format: WritableFormat, holds: boolean): MeasureOptions {
  const creation = parseCreation(
    draft.creation,
    format,
    (sentence) => new ImgError(`${sentence}\nvmexit img: Invalid options for file format '${format}'`),
  );
  creation.set("size", "0");
  // How much of the disk the backing file would provide is not known.
  const covered = holds && creation.delete("backing_file");
  creation.delete("backing_fmt");
  creation.delete("data_file_raw");
  const options = createOptions(creation, format, (sentence) => new ImgError(sentence));
  if (options.format === "raw") return { format: "raw" };
  const { clusterSize, refcountBits, extendedL2, version, preallocation } = options;
  return {
    format: "qcow2",
    full: covered || preallocation === "falloc" || preallocation === "full",
    ...(clusterSize !== undefined && { clusterSize }),
    ...(refcountBits !== undefined && { refcountBits }),
    ...(extendedL2 !== undefined && { extendedL2 }),
    ...(version !== undefined && { version }),
  };
}

function textOf({ required, fullyAllocated, bitmaps }: Measure): string {
  const text = `required size: ${required}\nfully allocated size: ${fullyAllocated}\n`;
  return bitmaps === undefined ? text : `${text}bitmaps size: ${bitmaps}\n`;
}

function jsonOf({ required, fullyAllocated, bitmaps }: Measure): unknown {
  return { ...(bitmaps !== undefined && { bitmaps }), required, "fully-allocated": fullyAllocated };
}
