/** `vmexit img bitmap`: changes a persistent dirty bitmap. Source: QEMU 11.1, qemu-img.c (img_bitmap). */
import { text } from "../../config/value.ts";
import { type BitmapChange, changeBitmap, removeAllBitmaps } from "../../images/qcow2/change-bitmaps.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import type { ImgCommand } from "./command.ts";
import { FORMAT, OTHER_FILES, open, probedRawWarning, REFUSED, whyNotOpened } from "./files.ts";
import { ImgError } from "./img-error.ts";
import { flag, type Read, readCommandLine } from "./options.ts";
import { sizeKind } from "./sizes.ts";

const OPTIONS = {
  ...FORMAT,
  add: flag(["add"], "create BITMAP, which records changes from now on"),
  granularity: {
    names: ["g", "granularity"],
    type: sizeKind("granularity"),
    help: "with --add: how many bytes one bit stands for (default: the cluster size, 4k to 64k)",
  },
  remove: flag(["remove"], "delete BITMAP"),
  removeAll: flag(["remove-all"], "delete all bitmaps of FILE"),
  clear: flag(["clear"], "mark everything in BITMAP as unchanged"),
  enable: flag(["enable"], "record changes in BITMAP from now on"),
  disable: flag(["disable"], "record no changes in BITMAP from now on"),
  merge: { names: ["merge"], type: text("SOURCE"), help: "add what the bitmap SOURCE has marked to BITMAP" },
  sourceFile: {
    names: ["b", "source-file"],
    type: text("SRC_FILE"),
    help: "with --merge: the image that has SOURCE (default: FILE)",
  },
  sourceFormat: { names: ["F", "source-format"], type: text("SRC_FMT"), help: "the format of SRC_FILE" },
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type BitmapOptions = Read<typeof OPTIONS>;

const ACTIONS = ["add", "remove", "clear", "enable", "disable", "merge"] as const;
type Action = (typeof ACTIONS)[number];

export const bitmap: ImgCommand = {
  name: "bitmap",
  operands: "FILE [BITMAP]",
  help: "changes a persistent dirty bitmap of an image",
  options: OPTIONS,
  run: (argv, { stderr }) => {
    const { operands, options, given } = readCommandLine(argv, OPTIONS);
    // In the order in which they were given.
    const actions = given.filter(isAction);
    checkTogether(options, actions, operands);
    const [path, name] = operands;
    using image = open(path, options, { readOnly: false });
    stderr.write(probedRawWarning(image, options));
    const fail = (action: string, why: string) =>
      new ImgError(`Operation ${action} on bitmap ${name} failed: ${why}`);
    if (!(image instanceof Qcow2Image)) {
      if (options.removeAll) return 0;
      throw fail(actions[0], `Can't store persistent bitmaps in ${path}: Operation not supported`);
    }
    if (options.removeAll) removeAllBitmaps(image);
    using source = sourceImage(options);
    for (const action of actions) {
      try {
        changeBitmap(image, name, [changeOf(action, options, source)]);
      } catch (error) {
        throw fail(action, whyNotOpened(path, error));
      }
    }
    return 0;
  },
};

function isAction(row: string): row is Action {
  return ACTIONS.some((action) => action === row);
}

function checkTogether(
  options: BitmapOptions,
  actions: readonly Action[],
  operands: readonly string[],
): void {
  const { granularity, merge, sourceFile, sourceFormat, removeAll } = options;
  if (actions.length === 0 && !removeAll) {
    throw new ImgError(
      "Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge",
    );
  }
  if (granularity !== undefined && !actions.includes("add")) {
    throw new ImgError("granularity only supported with --add");
  }
  if (sourceFormat !== undefined && sourceFile === undefined) throw new ImgError("-F only supported with -b");
  if (sourceFile !== undefined && merge === undefined) {
    throw new ImgError("Merge bitmap source file only supported with --merge");
  }
  if (actions.length === 0 && operands.length !== 1) throw new ImgError("Expecting filename");
  if (actions.length > 0 && operands.length !== 2) throw new ImgError("Expecting filename and bitmap name");
}

function sourceImage({ sourceFile, sourceFormat, otherFiles }: BitmapOptions): Qcow2Image | undefined {
  if (sourceFile === undefined) return undefined;
  const source = open(sourceFile, { format: sourceFormat, otherFiles });
  if (source instanceof Qcow2Image) return source;
  source.close();
  throw new ImgError(`${sourceFile}: images of the format ${source.format} have no bitmaps`);
}

function changeOf(action: Action, options: BitmapOptions, source: Qcow2Image | undefined): BitmapChange {
  if (action === "add") return { kind: "add", granularity: options.granularity };
  if (action === "merge") return { kind: "merge", from: options.merge ?? "", image: source };
  return { kind: action };
}
