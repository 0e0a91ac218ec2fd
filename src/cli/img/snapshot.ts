/** `vmexit img snapshot`: lists and changes internal snapshots. Source: QEMU 11.1, qemu-img.c (img_snapshot). */

import { text } from "../../config/value.ts";
import { ImageError } from "../../disk/image-error.ts";
import { Qcow2Image } from "../../images/qcow2/image.ts";
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from "../../images/qcow2/snapshots.ts";
import { SystemError } from "../../sys/errors.ts";
import { type ImgCommand, oneFile } from "./command.ts";
import {
  FORMAT,
  OTHER_FILES,
  open,
  probedRawWarning,
  QUIET,
  REFUSED,
  SHARED,
  whyNotOpened,
} from "./files.ts";
import { ImgError, UsageError } from "./img-error.ts";
import { flag, readCommandLine } from "./options.ts";
import { snapshotTable } from "./snapshot-text.ts";

type Action = "list" | "apply" | "create" | "delete";

const OPTIONS = {
  ...FORMAT,
  list: flag(["l", "list"], "list the snapshots (default)"),
  apply: action(["a", "apply"], "make the disk what it was when SNAPSHOT was created"),
  create: action(["c", "create"], "create a snapshot"),
  delete: action(["d", "delete"], "delete a snapshot"),
  ...QUIET,
  ...SHARED,
  ...OTHER_FILES,
  ...REFUSED,
} as const;

function action(names: readonly string[], help: string) {
  return { names, type: text("SNAPSHOT"), help } as const;
}

function isAction(row: string): row is Action {
  return Object.hasOwn(DOING, row);
}

/** What failed, in words that the reason follows. */
const DOING: Readonly<Record<Action, string>> = {
  list: "list snapshots",
  apply: "apply snapshot",
  create: "create snapshot",
  delete: "delete snapshot",
};

export const snapshot: ImgCommand = {
  name: "snapshot",
  operands: "FILE",
  help: "lists, creates, applies and deletes snapshots in an image",
  options: OPTIONS,
  run: (argv, { stdout, stderr }) => {
    const { operands, options, given } = readCommandLine(argv, OPTIONS);
    const path = oneFile(operands);
    const actions = given.filter((row) => isAction(row));
    if (actions.length > 1) throw new UsageError("Cannot mix '-l', '-a', '-c', '-d'");
    const action = actions[0] ?? "list";
    const name = options.apply ?? options.create ?? options.delete ?? "";
    using image = open(path, options, { readOnly: action === "list" });
    if (action !== "list") stderr.write(probedRawWarning(image, options));
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

/** Returns its id. `delete` takes only names, as qemu-img does. */
function requireSnapshot(image: Qcow2Image, action: "apply" | "delete", wanted: string): string {
  const snapshots = listSnapshots(image);
  const byName = snapshots.find(({ name }) => name === wanted);
  const found = action === "delete" ? byName : (snapshots.find(({ id }) => id === wanted) ?? byName);
  if (found !== undefined) return found.id;
  const why =
    action === "delete" ? "snapshot not found" : "Failed to load snapshot: No such file or directory";
  throw new ImgError(`Could not ${DOING[action]} '${wanted}': ${why}`);
}
