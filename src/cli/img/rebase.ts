/** `vmexit img rebase`: changes the backing file of an image. Source: QEMU 11.1, qemu-img.c (img_rebase). */

import { type BackingName, rebaseImage, setBackingFile } from "../../image-tools/rebase.ts";
import { nameOfFile } from "../../images/file-name.ts";
import type { ImageFormat } from "../../images/formats.ts";
import { type OpenedImage, openImage } from "../../images/open-image.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { backingPath } from "./backing.ts";
import { type ImgCommand, type ImgOutput, oneFile } from "./command.ts";
import { backingRows } from "./creation.ts";
import {
  cacheRow,
  FORMAT,
  formatNamed,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  REFUSED,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { flag, type Read, readCommandLine, refused } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";

const OPTIONS = {
  ...FORMAT,
  ...backingRows("B", "F"),
  unsafe: flag(
    ["u", "backing-unsafe"],
    "change only the name: the new backing file must have the same contents",
  ),
  ...PROGRESS,
  ...QUIET,
  ...SHARED,
  cache: cacheRow(["t", "cache"]),
  backingCache: cacheRow(["T", "backing-cache"]),
  compress: refused(["c", "compress"], "", "'vmexit img convert -c' compresses an image"),
  ...OTHER_FILES,
  ...REFUSED,
} as const;

type RebaseDraft = Read<typeof OPTIONS>;

export const rebase: ImgCommand = {
  name: "rebase",
  operands: "FILE",
  help: "changes the backing file of an image",
  options: OPTIONS,
  run: (argv, output) => {
    const { operands, options: draft } = readCommandLine(argv, OPTIONS);
    const path = oneFile(operands);
    if (draft.backing === undefined && !draft.unsafe) {
      throw new UsageError("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    rebaseFile(path, draft, output);
    return 0;
  },
};

function rebaseFile(path: string, draft: RebaseDraft, { stdout, stderr }: ImgOutput): void {
  const { backing: name = "", unsafe, quiet } = draft;
  // -U applies to the backing files.
  using image = open(
    path,
    { ...draft, shared: false },
    { readOnly: false, ...(unsafe && { otherFiles: "none" }) },
  );
  stderr.write(probedRawWarning(image, draft));
  const format = formatOf(draft);
  using below = unsafe || name === "" ? undefined : openNew(path, name, format, draft);
  const fail = (why: string) => new ImgError(`Could not change the backing file to '${name}': ${why}`);
  if (!(image instanceof Qcow2Image)) throw fail("Operation not supported");
  if (name !== "" && format === undefined) throw fail("backing format must be specified");
  const backing: BackingName | undefined = name === "" || format === undefined ? undefined : { name, format };
  const progress = new Progress(draft.progress && !quiet ? stdout : undefined);
  try {
    if (unsafe) setBackingFile(image, backing);
    else rebaseImage(image, backing, below, (done) => progress.show(done / image.size));
  } catch (error) {
    throw fail(whyNotOpened(path, error));
  }
  if (draft.progress && !quiet) progress.end();
}

function formatOf({ backingFormat }: RebaseDraft): ImageFormat | undefined {
  if (backingFormat === undefined) return undefined;
  return formatNamed(
    backingFormat,
    (meant) => new ImgError(`Invalid format name: '${backingFormat}'${meant}`),
  );
}

/** The new backing file. The command line names it, so it may be anywhere. */
function openNew(
  image: string,
  name: string,
  format: ImageFormat | undefined,
  { shared, otherFiles }: RebaseDraft,
): OpenedImage {
  let path = name;
  try {
    path = backingPath(image, name);
    return openImage(nameOfFile(path), {
      readOnly: true,
      otherFiles,
      lock: !shared,
      ...(format !== undefined && { format }),
    });
  } catch (error) {
    throw new ImgError(`Could not open new backing file '${path}': ${whyNotOpened(path, error)}`);
  }
}
