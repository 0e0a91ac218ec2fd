/** `vmexit img check`: checks an image. Source: QEMU 11.1, qemu-img.c (img_check), also of the exit statuses. */

import { typed } from "../../config/value.ts";
import type { OpenedImage } from "../../images/open-image.ts";
import { type CheckResult, checkQcow2 } from "../../images/qcow2/check.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { ReadOnlyImage } from "../../images/read-only-image.ts";
import { type ImgCommand, oneFile } from "./command.ts";
import { cacheRow, FORMAT, OUTPUT, open, QUIET, REFUSED, SHARED, whyNotOpened } from "./files.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { jsonText } from "./json.ts";
import { type Read, readCommandLine } from "./options.ts";
import { fixed } from "./sizes.ts";

const NOT_CHECKED = 1;
const CORRUPT = 2;
const LEAKS = 3;
const CANNOT_CHECK = 63;

const NOTHING_FIXED = { corruptions: 0, leaks: 0 };

const OPTIONS = {
  ...FORMAT,
  repair: {
    names: ["r", "repair"],
    type: typed("leaks|all", (value): "leaks" | "all" => {
      if (value === "leaks" || value === "all") return value;
      throw new UsageError(`--repair (-r) expects 'leaks' or 'all', not '${value}'`);
    }),
    help: "repair clusters that are counted too often, or all that can be repaired",
  },
  ...OUTPUT,
  ...QUIET,
  ...SHARED,
  cache: cacheRow(["T", "cache"]),
  ...REFUSED,
} as const;

type CheckDraft = Read<typeof OPTIONS>;

export const check: ImgCommand = {
  name: "check",
  operands: "FILE",
  help: "checks the tables of an image, and repairs those of qcow2 with -r",
  options: OPTIONS,
  run: (argv, { stdout, stderr }) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    const path = oneFile(operands);
    const { repair, json, quiet } = draft;
    const report = (line: string) => void stderr.write(`${line}\n`);
    using image = openFor(path, draft);
    if (image instanceof ReadOnlyImage) {
      const found = checkTables(image, repair, report);
      if (json) stdout.write(jsonText(jsonOf(path, image.format, found, NOTHING_FIXED)));
      else if (!quiet) stdout.write(textOf(found));
      return found.corruptions > 0 ? CORRUPT : 0;
    }
    if (!(image instanceof Qcow2Image)) throw cannotCheck();
    let result: CheckResult;
    let fixed = NOTHING_FIXED;
    try {
      result = checkQcow2(image, { repair, report });
      if (result.corruptionsFixed > 0 || result.leaksFixed > 0) {
        fixed = { corruptions: result.corruptionsFixed, leaks: result.leaksFixed };
        if (!json && !quiet) stdout.write(repairedText(fixed));
        result = checkQcow2(image, { report });
      }
    } catch (error) {
      throw new ImgError(`Check failed: ${whyNotOpened(path, error)}`, NOT_CHECKED);
    }
    if (json) stdout.write(jsonText(jsonOf(path, image.format, result, fixed)));
    else if (!quiet) stdout.write(textOf(result));
    if (result.checkErrors > 0) throw new ImgError("Check failed", NOT_CHECKED);
    return result.corruptions > 0 ? CORRUPT : result.leaks > 0 ? LEAKS : 0;
  },
};

/** Opens an image for writing if it will be repaired. Backing and data files have no tables to check. */
function openFor(path: string, draft: CheckDraft): OpenedImage {
  const options = { repair: false, otherFiles: "none" } as const;
  const image = open(path, draft, { ...options, readOnly: true });
  if (draft.repair === undefined || !(image instanceof Qcow2Image)) return image;
  image.close();
  return open(path, { ...draft, format: image.format }, { ...options, readOnly: false });
}

/** Checks the read-only formats, which are never repaired; QEMU repairs VHDX, by replaying its log. */
function checkTables(
  image: ReadOnlyImage,
  repair: CheckDraft["repair"],
  report: (line: string) => void,
): CheckResult {
  const { check } = image.parts;
  if (check === undefined || (repair !== undefined && image.format !== "vhdx")) throw cannotCheck();
  const { corruptions, failed } = check(report);
  if (failed) throw new ImgError("Check failed: Invalid argument", NOT_CHECKED);
  return {
    corruptions,
    leaks: 0,
    corruptionsFixed: 0,
    leaksFixed: 0,
    checkErrors: 0,
    totalClusters: 0,
    allocatedClusters: 0,
    compressedClusters: 0,
    fragmentedClusters: 0,
    imageEndOffset: 0,
  };
}

function cannotCheck(): ImgError {
  return new ImgError("This image format does not support checks", CANNOT_CHECK);
}

function repairedText({ corruptions, leaks }: { corruptions: number; leaks: number }): string {
  return `The following inconsistencies were found and repaired:

    ${leaks} leaked clusters
    ${corruptions} corruptions

Double checking the fixed image now...
`;
}

function textOf(result: CheckResult): string {
  const { corruptions, leaks, checkErrors, totalClusters, allocatedClusters, imageEndOffset } = result;
  let text = "";
  if (corruptions === 0 && leaks === 0 && checkErrors === 0) text += "No errors were found on the image.\n";
  if (corruptions > 0) {
    text += `\n${corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n`;
  }
  if (leaks > 0) {
    text += `\n${leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`;
  }
  if (checkErrors > 0) text += `\n${checkErrors} internal errors have occurred during the check.\n`;
  if (totalClusters > 0 && allocatedClusters > 0) {
    const share = (part: number, whole: number) => `${fixed((part * 100) / whole, 2)}%`;
    const fragmented = share(result.fragmentedClusters, allocatedClusters);
    const compressed = share(result.compressedClusters, allocatedClusters);
    text += `${allocatedClusters}/${totalClusters} = ${share(allocatedClusters, totalClusters)} allocated, ${fragmented} fragmented, ${compressed} compressed clusters\n`;
  }
  if (imageEndOffset > 0) text += `Image end offset: ${imageEndOffset}\n`;
  return text;
}

function jsonOf(path: string, format: string, result: CheckResult, fixed: typeof NOTHING_FIXED): unknown {
  const unlessZero = (key: string, value: number) => (value === 0 ? {} : { [key]: value });
  return {
    ...unlessZero("image-end-offset", result.imageEndOffset),
    ...unlessZero("compressed-clusters", result.compressedClusters),
    ...unlessZero("total-clusters", result.totalClusters),
    ...unlessZero("corruptions", result.corruptions),
    ...unlessZero("corruptions-fixed", fixed.corruptions),
    "check-errors": result.checkErrors,
    ...unlessZero("leaks", result.leaks),
    ...unlessZero("leaks-fixed", fixed.leaks),
    ...unlessZero("allocated-clusters", result.allocatedClusters),
    filename: path,
    format,
    ...unlessZero("fragmented-clusters", result.fragmentedClusters),
  };
}
