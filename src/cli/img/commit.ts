/** `vmexit img commit`: moves what an image holds into one below it. Source: QEMU 7.2, qemu-img.c (img_commit). */
import type { DiskImage } from "../../disk/image.ts";
import { commitImage } from "../../image-tools/commit.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { realPath } from "../../sys/host-path.ts";
import { backingPath } from "./backing.ts";
import { type ImgCommand, ImgError, type ImgOutput, oneFile } from "./command.ts";
import {
  cacheOption,
  type FileOptions,
  FORMAT,
  fileOptions,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  RATE_LIMIT,
  REFUSED,
  whyNotOpened,
} from "./files.ts";
import { type Option, parseOptions } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";

interface CommitDraft extends FileOptions {
  base: string | undefined;
  keep: boolean;
  rate: number | undefined;
  progress: boolean;
}

const OPTIONS: readonly Option<CommitDraft>[] = [
  FORMAT,
  {
    names: ["b"],
    argument: "FILE",
    help: "the image of the chain that is written to, if not the one right below; implies -d",
    set: (draft, value) => {
      draft.base = value;
      draft.keep = true;
    },
  },
  {
    names: ["d"],
    help: "does not empty the image afterwards",
    set: (draft) => {
      draft.keep = true;
    },
  },
  PROGRESS,
  QUIET,
  cacheOption("t", "writing"),
  RATE_LIMIT,
  OTHER_FILES,
  ...REFUSED,
];

export const commit: ImgCommand = {
  name: "commit",
  operands: "filename",
  help: "writes what an image holds to its backing file, and empties the image",
  options: OPTIONS,
  run: (argv, output) => {
    const draft: CommitDraft = {
      ...fileOptions(),
      base: undefined,
      keep: false,
      rate: undefined,
      progress: false,
    };
    commitFile(oneFile(parseOptions(argv, OPTIONS, draft)), draft, output);
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
      keep: draft.keep,
      rate: draft.rate,
      progress: (done) => progress.show(done / image.size),
    });
  } catch (error) {
    throw new ImgError(`Could not commit '${path}': ${whyNotOpened(path, error)}`);
  }
  if (draft.progress && !draft.quiet) progress.end();
  if (!draft.quiet) stdout.write("Image committed.\n");
}

/** How far down the chain an image is; undefined if it is not there. A relative name counts from whoever stands on it. */
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
