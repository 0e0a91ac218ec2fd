/** `vmexit img commit`: writes the contents of an image to one below it. Source: QEMU 11.1, qemu-img.c (img_commit). */

import { text } from "../../config/value.ts";
import type { DiskImage } from "../../disk/image.ts";
import { commitImage } from "../../image-tools/commit.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { realPath } from "../../sys/host-path.ts";
import { backingPath } from "./backing.ts";
import { type ImgCommand, type ImgOutput, oneFile } from "./command.ts";
import {
  cacheRow,
  type FileOptions,
  FORMAT,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  RATE_LIMIT,
  REFUSED,
  whyNotOpened,
} from "./files.ts";
import { ImgError } from "./img-error.ts";
import { flag, type Read, readCommandLine } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";

const OPTIONS = {
  ...FORMAT,
  base: {
    names: ["b", "base"],
    type: text("BASE_IMG"),
    help: "the image of the chain to commit to (default: the backing file); implies --drop",
  },
  drop: flag(["d", "drop"], "do not empty FILE afterwards"),
  ...PROGRESS,
  ...QUIET,
  cache: cacheRow(["t", "cache"]),
  ...RATE_LIMIT,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type CommitDraft = Read<typeof OPTIONS>;

export const commit: ImgCommand = {
  name: "commit",
  operands: "FILE",
  help: "writes the contents of an image to its backing file, and empties the image",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands, options } = readCommandLine(argv, OPTIONS);
    commitFile(oneFile(operands), options, output);
    return 0;
  },
};

function commitFile(path: string, draft: CommitDraft, { stdout, stderr }: ImgOutput): void {
  const depth = draft.base === undefined ? 1 : depthOf(path, draft.base, draft);
  using image = open(path, draft, { readOnly: false, writableBacking: depth ?? 0 });
  stderr.write(probedRawWarning(image, draft));
  const base = depth === undefined ? undefined : imageAt(image, depth);
  if (!(image instanceof Qcow2Image) || base === undefined) {
    throw new ImgError(
      draft.base === undefined
        ? "Image does not have a backing file"
        : `Did not find '${draft.base}' in the backing chain of '${path}'`,
    );
  }
  const progress = new Progress(draft.progress && !draft.quiet ? stdout : undefined);
  try {
    commitImage(image, {
      base,
      keep: draft.drop || draft.base !== undefined,
      rate: draft.rate,
      progress: (done) => progress.show(done / image.size),
    });
  } catch (error) {
    throw new ImgError(`Could not commit '${path}': ${whyNotOpened(path, error)}`);
  }
  if (draft.progress && !draft.quiet) progress.end();
  if (!draft.quiet) stdout.write("Image committed.\n");
}

/** How far down the chain an image is; undefined if it is not in the chain. A relative name counts from the image over it. */
function depthOf(path: string, name: string, options: FileOptions): number | undefined {
  using image = open(path, options);
  let over: DiskImage = image;
  for (let depth = 1; ; depth++) {
    const below = over.backing;
    if (below === undefined) return undefined;
    if (isSameFile(over.path, name, below.path)) return depth;
    over = below;
  }
}

function isSameFile(image: string, name: string, path: string): boolean {
  try {
    const named = backingPath(image, name);
    return realPath(named) === realPath(path);
  } catch {
    return false; // there is no such file
  }
}

function imageAt(image: DiskImage, depth: number): DiskImage | undefined {
  let at: DiskImage | undefined = image;
  for (let i = 0; i < depth && at !== undefined; i++) at = at.backing;
  return at;
}
