/** `vmexit img compare`: have two images the same disk in them? Source: QEMU 7.2, qemu-img.c (img_compare). */
import { compareDisks } from "../../image-tools/compare.ts";
import { type ImgCommand, ImgError, type ImgOutput, usageError } from "./command.ts";
import {
  cacheOption,
  type FileOptions,
  FORMAT,
  fileOptions,
  OTHER_FILES,
  open,
  QUIET,
  REFUSED,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { type Option, parseOptions } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";

const DIFFER = 1;
const FAILED = 2;

interface CompareDraft extends FileOptions {
  otherFormat: string | undefined;
  progress: boolean;
  strict: boolean;
}

const OPTIONS: readonly Option<CompareDraft>[] = [
  FORMAT,
  {
    names: ["F"],
    argument: "FORMAT",
    help: "of the second image",
    set: (draft, value) => {
      draft.otherFormat = value;
    },
  },
  cacheOption("T", "reading", FAILED),
  PROGRESS,
  QUIET,
  {
    names: ["s"],
    help: "sizes, and what is allocated, must be the same too",
    set: (draft) => {
      draft.strict = true;
    },
  },
  SHARED,
  OTHER_FILES,
  ...REFUSED,
];

export const compare: ImgCommand = {
  name: "compare",
  operands: "filename1 filename2",
  help: "finds where two disks differ",
  options: OPTIONS,
  run: (argv, output) => {
    const draft: CompareDraft = { ...fileOptions(), otherFormat: undefined, progress: false, strict: false };
    const operands = parseOptions(argv, OPTIONS, draft);
    if (operands.length !== 2) throw usageError("Expecting two image file names");
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
