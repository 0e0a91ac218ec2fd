/** `vmexit img create`: a new, empty image. Source: QEMU 7.2, qemu-img.c (img_create), block.c (bdrv_img_create). */
import { createImage } from "../../image-tools/create-image.ts";
import { backingSize, checkBackingName } from "./backing.ts";
import { type ImgCommand, ImgError, type ImgOutput, usageError } from "./command.ts";
import { asksForHelp, createOptions, creationHelp, creationText, parseCreation } from "./creation.ts";
import {
  type FileOptions,
  fileOptions,
  OTHER_FILES,
  QUIET,
  REFUSED,
  whyNotOpened,
  writableFormatNamed,
} from "./files.ts";
import { type Option, parseOptions } from "./options.ts";
import { parseSize } from "./sizes.ts";

interface CreateDraft extends FileOptions {
  /** The words of each `-o`. */
  creation: string[];
  backing: string | undefined;
  backingFormat: string | undefined;
  /** The backing file need not be there. */
  unchecked: boolean;
}

const OPTIONS: readonly Option<CreateDraft>[] = [
  {
    names: ["f"],
    argument: "FORMAT",
    help: "raw (default) or qcow2",
    set: (draft, value) => {
      draft.format = value;
    },
  },
  {
    names: ["o"],
    argument: "KEY=VALUE,…",
    help: "how the image is made; -o help lists the keys",
    set: (draft, value) => {
      draft.creation.push(value);
    },
  },
  {
    names: ["b"],
    argument: "FILE",
    help: "the backing file, named relative to the new image's folder",
    set: (draft, value) => {
      draft.backing = value;
    },
  },
  {
    names: ["F"],
    argument: "FORMAT",
    help: "the backing file's format; required with -b",
    set: (draft, value) => {
      draft.backingFormat = value;
    },
  },
  {
    names: ["u"],
    help: "does not look at the backing file; needs a size",
    set: (draft) => {
      draft.unchecked = true;
    },
  },
  QUIET,
  OTHER_FILES,
  ...REFUSED,
];

export const create: ImgCommand = {
  name: "create",
  operands: "filename [size]",
  help: "makes an image",
  options: OPTIONS,
  run: (argv, output) => {
    const draft: CreateDraft = {
      ...fileOptions(),
      creation: [],
      backing: undefined,
      backingFormat: undefined,
      unchecked: false,
    };
    return run(draft, parseOptions(argv, OPTIONS, draft), output);
  },
};

function run(draft: CreateDraft, operands: readonly string[], { stdout }: ImgOutput): number {
  const [path, size, surplus] = operands;
  const typed = draft.format ?? "raw";
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
  if (path === undefined) throw usageError("Expecting image file name");
  if (surplus !== undefined) throw usageError(`Unexpected argument: ${surplus}`);
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
