/** `vmexit img rebase`: puts an image on another backing file. Source: QEMU 7.2, qemu-img.c (img_rebase). */

import { type BackingName, rebaseImage, setBackingFile } from "../../image-tools/rebase.ts";
import { nameOfFile } from "../../images/file-name.ts";
import type { ImageFormat } from "../../images/formats.ts";
import { type OpenedImage, openImage } from "../../images/open-image.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import { backingPath } from "./backing.ts";
import { type ImgCommand, ImgError, type ImgOutput, oneFile, usageError } from "./command.ts";
import {
  cacheOption,
  type FileOptions,
  FORMAT,
  fileOptions,
  formatNamed,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  REFUSED,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { type Option, parseOptions } from "./options.ts";
import { PROGRESS, Progress } from "./progress.ts";

interface RebaseDraft extends FileOptions {
  backing: string | undefined;
  backingFormat: string | undefined;
  /** Only the name changes. */
  unsafe: boolean;
  progress: boolean;
}

const OPTIONS: readonly Option<RebaseDraft>[] = [
  FORMAT,
  {
    names: ["b"],
    argument: "FILE",
    help: "the new backing file, named relative to the image's folder; '' for none",
    set: (draft, value) => {
      draft.backing = value;
    },
  },
  {
    names: ["F"],
    argument: "FORMAT",
    help: "the new backing file's format; required with -b",
    set: (draft, value) => {
      draft.backingFormat = value;
    },
  },
  {
    names: ["u"],
    help: "changes the name alone: what is there has to be the same as before",
    set: (draft) => {
      draft.unsafe = true;
    },
  },
  PROGRESS,
  QUIET,
  SHARED,
  cacheOption("t", "writing"),
  cacheOption("T", "reading"),
  OTHER_FILES,
  ...REFUSED,
];

export const rebase: ImgCommand = {
  name: "rebase",
  operands: "filename",
  help: "puts an image on another backing file, or on none",
  options: OPTIONS,
  run: (argv, output) => {
    const draft: RebaseDraft = {
      ...fileOptions(),
      backing: undefined,
      backingFormat: undefined,
      unsafe: false,
      progress: false,
    };
    const path = oneFile(parseOptions(argv, OPTIONS, draft));
    if (draft.backing === undefined && !draft.unsafe) {
      throw usageError("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    rebaseFile(path, draft, output);
    return 0;
  },
};

function rebaseFile(path: string, draft: RebaseDraft, { stdout, stderr }: ImgOutput): void {
  const { backing: name = "", unsafe, quiet } = draft;
  // What reads an image that others write (-U) is meant for the backing files.
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
