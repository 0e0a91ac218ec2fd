/** `vmexit img resize`: changes the size of a disk. Source: QEMU 11.1, qemu-img.c (img_resize). */

import { typed } from "../../config/value.ts";
import { lengthenRaw } from "../../image-tools/create-image.ts";
import type { OpenedImage } from "../../images/open-image.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import type { Preallocation } from "../../images/qcow2/preallocate.ts";
import { resizeQcow2 } from "../../images/qcow2/resize.ts";
import { RemoteDisk } from "../../nbd/remote-disk.ts";
import type { ImgCommand, ImgOutput } from "./command.ts";
import { PREALLOCATIONS, preallocationNamed } from "./creation.ts";
import { FORMAT, OTHER_FILES, open, probedRawWarning, QUIET, REFUSED, whyNotOpened } from "./files.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { flag, type Read, readCommandLine } from "./options.ts";
import { sizeOf } from "./sizes.ts";

const OPTIONS = {
  ...FORMAT,
  preallocation: {
    names: ["preallocation"],
    type: typed(PREALLOCATIONS.join("|"), (value) =>
      preallocationNamed(value, () => new ImgError(`Invalid preallocation mode '${value}'`)),
    ),
    default: "off",
    help: "reserve storage for what is added",
  },
  shrink: flag(["shrink"], "the disk may become smaller, and lose what is behind its new end"),
  ...QUIET,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type ResizeDraft = Read<typeof OPTIONS>;

export const resize: ImgCommand = {
  name: "resize",
  operands: "FILE [+|-]SIZE",
  help: "changes the size of a disk",
  options: OPTIONS,
  run: (argv, output) => {
    // The last word is the size, even if it looks like an option: -512k.
    const size = argv.length < 2 || /^(-h|--help)$/.test(argv[argv.length - 1]) ? undefined : argv.at(-1);
    const words = size === undefined ? argv : argv.slice(0, -1);
    const { operands, options } = readCommandLine(words, OPTIONS);
    if (size === undefined || operands.length !== 1) {
      throw new UsageError("Expecting image file name and size");
    }
    resizeFile(operands[0], size, options, output);
    return 0;
  },
};

function resizeFile(path: string, typed: string, draft: ResizeDraft, { stdout, stderr }: ImgOutput): void {
  const sign = /^[+-]/.test(typed) ? typed[0] : "";
  const bytes = sizeOf(typed.slice(sign.length));
  if (bytes === undefined) {
    throw new ImgError(
      "Parameter 'size' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.",
    );
  }
  using image = open(path, draft, { readOnly: false });
  stderr.write(probedRawWarning(image, draft));
  const before = image.size;
  const size = sign === "+" ? before + bytes : sign === "-" ? before - bytes : bytes;
  if (size <= 0 || !Number.isSafeInteger(size)) throw new ImgError("New image size must be positive");
  if (size <= before && draft.preallocation !== "off") {
    throw new ImgError("Preallocation can only be used for growing images");
  }
  if (size < before && !draft.shrink) {
    throw new ImgError(
      "Use the --shrink option to perform a shrink operation.\nvmexit img: warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.",
    );
  }
  try {
    setSize(image, size, draft.preallocation);
  } catch (error) {
    throw new ImgError(whyNotOpened(path, error));
  }
  if (!draft.quiet) stdout.write("Image resized.\n");
}

function setSize(image: OpenedImage, size: number, preallocation: Preallocation): void {
  if (image instanceof Qcow2Image) {
    if (size % 512 !== 0) throw new ImgError("The new size must be a multiple of 512");
    if (image.header.version === 2 && image.header.snapshots > 0) {
      throw new ImgError("Can't resize a v2 image which has snapshots");
    }
    resizeQcow2(image, size, preallocation);
  } else if (image instanceof RemoteDisk) {
    throw new ImgError("Image format driver does not support resize");
  } else {
    if (image.file.isBlockDevice) {
      if (size !== image.size) throw new ImgError("Cannot resize device files");
      return;
    }
    if (preallocation === "metadata") throw new ImgError("Unsupported preallocation mode: metadata");
    lengthenRaw(image.file, size, preallocation);
  }
}
