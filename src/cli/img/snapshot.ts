/** `vmexit img snapshot`: internal snapshots. Source: QEMU 7.2, qemu-img.c (img_snapshot). */
import { ImageError } from "../../disk/image-error.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from "../../images/qcow2/snapshots.ts";
import { SystemError } from "../../sys/errors.ts";
import { type ImgCommand, ImgError, oneFile, usageError } from "./command.ts";
import {
  type FileOptions,
  fileOptions,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  REFUSED,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { type Option, parseOptions } from "./options.ts";
import { snapshotTable } from "./snapshot-text.ts";

type Action = "list" | "apply" | "create" | "delete";

interface SnapshotDraft extends FileOptions {
  action: Action | undefined;
  name: string;
}

const OPTIONS: readonly Option<SnapshotDraft>[] = [
  { names: ["l"], help: "lists the snapshots (default)", set: (draft) => choose(draft, "list", "") },
  {
    names: ["a"],
    argument: "SNAPSHOT",
    help: "makes the disk what it was then",
    set: (draft, name) => choose(draft, "apply", name),
  },
  {
    names: ["c"],
    argument: "SNAPSHOT",
    help: "takes a snapshot",
    set: (draft, name) => choose(draft, "create", name),
  },
  {
    names: ["d"],
    argument: "SNAPSHOT",
    help: "deletes a snapshot",
    set: (draft, name) => choose(draft, "delete", name),
  },
  QUIET,
  SHARED,
  OTHER_FILES,
  ...REFUSED,
];

function choose(draft: SnapshotDraft, action: Action, name: string): void {
  if (draft.action !== undefined) throw usageError("Cannot mix '-l', '-a', '-c', '-d'");
  draft.action = action;
  draft.name = name;
}

/** What could not be done, in words that the reason follows. */
const DOING: Readonly<Record<Action, string>> = {
  list: "list snapshots",
  apply: "apply snapshot",
  create: "create snapshot",
  delete: "delete snapshot",
};

export const snapshot: ImgCommand = {
  name: "snapshot",
  operands: "filename",
  help: "lists, takes, applies and deletes snapshots inside an image",
  options: OPTIONS,
  run: (argv, { stdout, stderr }) => {
    const draft: SnapshotDraft = { ...fileOptions(), action: undefined, name: "" };
    const path = oneFile(parseOptions(argv, OPTIONS, draft));
    const { name, action } = draft;
    using image = open(path, draft, { readOnly: action === undefined || action === "list" });
    if (action !== "list") stderr.write(probedRawWarning(image, draft));
    if (action === undefined) return 0;
    if (!(image instanceof Qcow2Image)) {
      if (action === "list") return 0;
      throw new ImgError(`Could not ${DOING[action]} '${name}': -95 (Operation not supported)`);
    }
    try {
      if (action === "list") stdout.write(listText(image));
      else change(image, action, name);
    } catch (error) {
      if (!(error instanceof ImageError || error instanceof SystemError)) throw error;
      throw new ImgError(`Could not ${DOING[action]} '${name}': ${whyNotOpened(path, error)}`);
    }
    return 0;
  },
};

function listText(image: Qcow2Image): string {
  const snapshots = listSnapshots(image);
  return snapshots.length === 0 ? "" : snapshotTable(snapshots);
}

function change(image: Qcow2Image, action: Exclude<Action, "list">, name: string): void {
  if (action === "create") {
    createSnapshot(image, name);
    return;
  }
  const id = requireSnapshot(image, action, name);
  if (action === "apply") applySnapshot(image, id);
  else deleteSnapshot(image, id);
}

/** Returns its id. What is deleted goes by its name alone, as with qemu-img. */
function requireSnapshot(image: Qcow2Image, action: "apply" | "delete", wanted: string): string {
  const snapshots = listSnapshots(image);
  const byName = snapshots.find(({ name }) => name === wanted);
  const found = action === "delete" ? byName : (snapshots.find(({ id }) => id === wanted) ?? byName);
  if (found !== undefined) return found.id;
  const why =
    action === "delete" ? "snapshot not found" : "Failed to load snapshot: No such file or directory";
  throw new ImgError(`Could not ${DOING[action]} '${wanted}': ${why}`);
}
