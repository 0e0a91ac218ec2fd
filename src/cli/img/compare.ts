/** `vmexit img compare`: compares two disks. Source: QEMU 11.1, qemu-img.c (img_compare). */

import { text } from "../../config/value.ts";
import { compareDisks } from "../../image-tools/compare.ts";
import type { ImgCommand, ImgOutput } from "./command.ts";
import { cacheRow, formatRow, OTHER_FILES, open, QUIET, REFUSED, SHARED, whyNotOpened } from "./files.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { flag, type Read, readCommandLine } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";

const DIFFER = 1;
const FAILED = 2;

const OPTIONS = {
  format: formatRow(["f", "a-format"]),
  otherFormat: { names: ["F", "b-format"], type: text("FMT"), help: "the format of FILE2" },
  strict: flag(["s", "strict"], "sizes, and what is allocated, must be the same too"),
  cache: cacheRow(["T", "cache"], FAILED),
  ...SHARED,
  ...PROGRESS,
  ...QUIET,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type CompareDraft = Read<typeof OPTIONS>;

export const compare: ImgCommand = {
  name: "compare",
  operands: "FILE1 FILE2",
  help: "compares the contents of two disks",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    if (operands.length !== 2) throw new UsageError("Expecting two image file names");
    return run(operands[0], operands[1], draft, output);
  },
};

function run(path: string, otherPath: string, draft: CompareDraft, { stdout }: ImgOutput): number {
  const { strict, quiet, otherFormat } = draft;
  using one = open(path, draft, {}, FAILED);
  using other = open(otherPath, { ...draft, format: otherFormat }, {}, FAILED);
  const say = (text: string) => {
    if (!quiet) stdout.write(`${text}\n`);
  };
  if (one.size !== other.size) {
    if (strict) {
      say("Strict mode: Image size mismatch!");
      return DIFFER;
    }
  }
  const progress = new Progress(draft.progress && !quiet ? stdout : undefined);
  const total = Math.max(1, one.size, other.size);
  try {
    const found = compareDisks(one, other, { strict, progress: (done) => progress.show(done / total) });
    const behind = found === undefined || found.offset >= Math.min(one.size, other.size);
    if (one.size !== other.size && behind) say("Warning: Image size mismatch!");
    if (found?.kind === "status") say(`Strict mode: Offset ${found.offset} block status mismatch!`);
    else if (found !== undefined) say(`Content mismatch at offset ${found.offset}!`);
    else say("Images are identical.");
    return found === undefined ? 0 : DIFFER;
  } catch (error) {
    throw new ImgError(whyNotOpened(path, error), FAILED);
  } finally {
    if (draft.progress && !quiet) progress.leave();
  }
}
