/** `vmexit img create`: creates an empty image. Source: QEMU 11.1, qemu-img.c (img_create), block.c (bdrv_img_create). */
import { createImage } from "../../image-tools/create-image.ts";
import { backingSize, checkBackingName } from "./backing.ts";
import type { ImgCommand, ImgOutput } from "./command.ts";
import {
  asksForHelp,
  backingRows,
  createOptions,
  creationHelp,
  creationText,
  parseCreation,
  targetRows,
} from "./creation.ts";
import { OTHER_FILES, QUIET, REFUSED, whyNotOpened, writableFormatNamed } from "./files.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { flag, type Read, readCommandLine } from "./options.ts";
import { parseSize } from "./sizes.ts";

const OPTIONS = {
  ...targetRows("f", "format", ["options"]),
  ...backingRows("B", "F"),
  unchecked: flag(["u", "backing-unsafe"], "do not open the backing file; SIZE is required then"),
  ...QUIET,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type CreateDraft = Read<typeof OPTIONS>;

export const create: ImgCommand = {
  name: "create",
  operands: "FILE [SIZE]",
  help: "creates an image",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands, options } = readCommandLine(argv, OPTIONS);
    return run(options, operands, output);
  },
};

function run(draft: CreateDraft, operands: readonly string[], { stdout }: ImgOutput): number {
  const [path, size, surplus] = operands;
  const typed = draft.targetFormat;
  if (asksForHelp(draft.creation)) {
    stdout.write(
      creationHelp(
        writableFormatNamed(
          typed,
          (meant) => new ImgError(`Unknown file format '${typed}'${meant}`),
          (why) => new ImgError(why),
        ),
        path,
      ),
    );
    return 0;
  }
  if (path === undefined) throw new UsageError("Expecting image file name");
  if (surplus !== undefined) throw new UsageError(`Unexpected argument: ${surplus}`);
  const bytes = size === undefined ? undefined : parseSize(size, "image size");
  const fail = (sentence: string) => new ImgError(`${path}: ${sentence}`);
  const format = writableFormatNamed(typed, (meant) => fail(`Unknown file format '${typed}'${meant}`), fail);
  const creation = parseCreation(draft.creation, format, fail);
  if (bytes !== undefined) {
    if (creation.has("size")) throw fail("The image size must be specified only once");
    creation.set("size", String(bytes));
  }
  if (draft.backing !== undefined) {
    if (format === "raw") throw fail("Backing file not supported for file format 'raw'");
    creation.set("backing_file", draft.backing);
  }
  if (draft.backingFormat !== undefined) {
    if (format === "raw") throw fail("Backing format not supported for file format 'raw'");
    creation.set("backing_fmt", draft.backingFormat);
  }
  const backing = creation.get("backing_file");
  if (backing !== undefined) {
    checkBackingName(path, backing, fail);
    if (draft.unchecked && !creation.has("backing_fmt")) {
      throw fail("Backing file specified without backing format");
    }
    if (!draft.unchecked) {
      const below = backingSize(path, creation, draft, fail);
      if (!creation.has("size")) creation.set("size", String(below));
    }
  }
  if (!creation.has("size")) throw fail("Image creation needs a size parameter");
  if (!draft.quiet) stdout.write(`Formatting '${path}', ${creationText(creation, format)}\n`);
  const options = createOptions(creation, format, fail);
  try {
    createImage(path, options);
  } catch (error) {
    throw fail(whyNotOpened(path, error, "create"));
  }
  return 0;
}
