/** `vmexit img check`: is an image whole? Source: QEMU 7.2, qemu-img.c (img_check); exit statuses are its. */
import { type CheckResult, checkQcow2 } from "../../block/qcow2/check.ts";
import { Qcow2Image } from "../../block/qcow2/image.ts";
import { type ImgCommand, ImgError, oneFile, usageError } from "./command.ts";
import {
  cacheOption,
  type FileOptions,
  FORMAT,
  fileOptions,
  OUTPUT,
  open,
  QUIET,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { jsonText } from "./json.ts";
import { type Option, parseOptions } from "./options.ts";
import { fixed } from "./sizes.ts";

const NOT_CHECKED = 1;
const CORRUPT = 2;
const LEAKS = 3;
const CANNOT_CHECK = 63;

interface CheckDraft extends FileOptions {
  json: boolean;
  repair: "leaks" | "all" | undefined;
}

const OPTIONS: readonly Option<CheckDraft>[] = [
  FORMAT,
  {
    names: ["r", "repair"],
    argument: "leaks|all",
    help: "mends clusters that are counted too often, or all that can be mended",
    set: (draft, value) => {
      if (value !== "leaks" && value !== "all") {
        throw usageError(`Unknown option value for -r (expecting 'leaks' or 'all'): ${value}`);
      }
      draft.repair = value;
    },
  },
  OUTPUT,
  QUIET,
  SHARED,
  cacheOption("T", "reading"),
];

export const check: ImgCommand = {
  name: "check",
  operands: "filename",
  help: "finds mistakes in a qcow2 image, and mends them with -r",
  options: OPTIONS,
  run: (argv, { stdout, stderr }) => {
    const draft: CheckDraft = { ...fileOptions(), json: false, repair: undefined };
    const path = oneFile(parseOptions(argv, OPTIONS, draft));
    const { repair, json, quiet } = draft;
    // Other files hold no tables: there is nothing to look at in them.
    const readOnly = repair === undefined;
    using image = open(path, draft, { readOnly, repair: false, otherFiles: "none" });
    if (!(image instanceof Qcow2Image)) {
      throw new ImgError("This image format does not support checks", CANNOT_CHECK);
    }
    const report = (line: string) => void stderr.write(`${line}\n`);
    let result: CheckResult;
    let fixed = { corruptions: 0, leaks: 0 };
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
    if (json) stdout.write(jsonText(jsonOf(path, result, fixed)));
    else if (!quiet) stdout.write(textOf(result));
    return result.corruptions > 0 ? CORRUPT : result.leaks > 0 ? LEAKS : 0;
  },
};

function repairedText({ corruptions, leaks }: { corruptions: number; leaks: number }): string {
  return `The following inconsistencies were found and repaired:

    ${leaks} leaked clusters
    ${corruptions} corruptions

Double checking the fixed image now...
`;
}

function textOf(result: CheckResult): string {
  const { corruptions, leaks, totalClusters, allocatedClusters, imageEndOffset } = result;
  let text = "";
  if (corruptions === 0 && leaks === 0) text += "No errors were found on the image.\n";
  if (corruptions > 0) {
    text += `\n${corruptions} errors were found on the image.\nData may be corrupted, or further writes to the image may corrupt it.\n`;
  }
  if (leaks > 0) {
    text += `\n${leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n`;
  }
  if (totalClusters > 0 && allocatedClusters > 0) {
    const share = (part: number, whole: number) => `${fixed((part * 100) / whole, 2)}%`;
    const fragmented = share(result.fragmentedClusters, allocatedClusters);
    const compressed = share(result.compressedClusters, allocatedClusters);
    text += `${allocatedClusters}/${totalClusters} = ${share(allocatedClusters, totalClusters)} allocated, ${fragmented} fragmented, ${compressed} compressed clusters\n`;
  }
  if (imageEndOffset > 0) text += `Image end offset: ${imageEndOffset}\n`;
  return text;
}

function jsonOf(path: string, result: CheckResult, fixed: { corruptions: number; leaks: number }): unknown {
  const unlessZero = (key: string, value: number) => (value === 0 ? {} : { [key]: value });
  return {
    ...unlessZero("image-end-offset", result.imageEndOffset),
    ...unlessZero("total-clusters", result.totalClusters),
    ...unlessZero("corruptions", result.corruptions),
    ...unlessZero("corruptions-fixed", fixed.corruptions),
    "check-errors": 0,
    ...unlessZero("leaks", result.leaks),
    ...unlessZero("leaks-fixed", fixed.leaks),
    ...unlessZero("fragmented-clusters", result.fragmentedClusters),
    ...unlessZero("allocated-clusters", result.allocatedClusters),
    ...unlessZero("compressed-clusters", result.compressedClusters),
    filename: path,
    format: "qcow2",
  };
}
