/** `vmexit img resize`: makes a disk larger or smaller. Source: QEMU 7.2, qemu-img.c (img_resize). */
import { lengthenRaw } from "../../image-tools/create-image.ts";
import type { OpenedImage } from "../../images/open-image.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import type { Preallocation } from "../../images/qcow2/preallocate.ts";
import { resizeQcow2 } from "../../images/qcow2/resize.ts";
import { RemoteDisk } from "../../nbd/remote-disk.ts";
import { type ImgCommand, ImgError, type ImgOutput, usageError } from "./command.ts";
import { preallocationNamed } from "./creation.ts";
import {
  type FileOptions,
  FORMAT,
  fileOptions,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  REFUSED,
  whyNotOpened,
} from "./files.ts";
import { type Option, parseOptions } from "./options.ts";
import { sizeOf } from "./sizes.ts";

interface ResizeDraft extends FileOptions {
  preallocation: Preallocation;
  shrink: boolean;
}

const OPTIONS: readonly Option<ResizeDraft>[] = [
  FORMAT,
  {
    names: ["preallocation"],
    argument: "off|metadata|falloc|full",
    help: "of what is new",
    set: (draft, value) => {
      draft.preallocation = preallocationNamed(
        value,
        () => new ImgError(`Invalid preallocation mode '${value}'`),
      );
    },
  },
  {
    names: ["shrink"],
    help: "a smaller disk is meant: what is behind its end will be lost",
    set: (draft) => {
      draft.shrink = true;
    },
  },
  QUIET,
  OTHER_FILES,
  ...REFUSED,
];

export const resize: ImgCommand = {
  name: "resize",
  operands: "filename [+|-]size",
  help: "makes a disk larger or smaller",
  options: OPTIONS,
  run: (argv, output) => {
    const draft: ResizeDraft = { ...fileOptions(), preallocation: "off", shrink: false };
    // The last word is the size even where it looks like an option: -512k.
    const wantsHelp = argv.length < 2;
    const size = wantsHelp ? undefined : argv.at(-1);
    const operands = parseOptions(wantsHelp ? argv : argv.slice(0, -1), OPTIONS, draft);
    if (size === undefined || operands.length === 0) throw usageError("Not enough arguments");
    if (operands.length !== 1) throw usageError("Expecting image file name and size");
    resizeFile(operands[0], size, draft, output);
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
