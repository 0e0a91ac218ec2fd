/** Snapshots as folders: what they are and how large, without a machine; and how one is deleted. */
import { existsSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { HiddenFolder, removeDeadFolders } from "./hidden-folder.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import { SnapshotError } from "./snapshot-error.ts";
import { MACHINE, refuseOther } from "./snapshot-folder.ts";

export interface StoredSnapshot {
  readonly path: string;
  readonly manifest: Manifest;
  /** Bytes that its files take on the host. */
  readonly bytes: number;
}

/** Only machine.json is read. @throws {SnapshotError} for a folder that is not a snapshot, or a broken one */
export function describeSnapshot(path: string): StoredSnapshot {
  const machine = join(path, MACHINE);
  let text: string;
  try {
    text = readFileSync(machine, "utf8");
  } catch (error) {
    throw new SnapshotError(path, `it is not a snapshot: ${error instanceof Error ? error.message : error}`);
  }
  const manifest = parseManifest(text, machine);
  const bytes = readdirSync(path).map((name) => 512 * statSync(join(path, name)).blocks);
  return { path, manifest, bytes: bytes.reduce((sum, each) => sum + each, 0) };
}

/**
 * Folders in `folder` that have the form of snapshots, by name. What processes that were killed have left
 * there is removed. @throws {Error} of Node
 */
export function snapshotsIn(folder: string): string[] {
  removeDeadFolders(folder);
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map(({ name }) => join(folder, name))
    .filter((path) => existsSync(join(path, MACHINE)))
    .sort();
}

/**
 * Machines that were restored from it continue.
 *
 * @param also places of snapshots that are deleted too
 * @throws {SnapshotError} if anything else than a snapshot is there, or another one continues it: nothing is
 *   deleted then
 */
export function deleteSnapshot(path: string, also: ReadonlySet<string> = new Set()): void {
  const place = resolve(path);
  if (!existsSync(join(place, MACHINE)))
    throw new SnapshotError(path, `it is not a snapshot: it has no ${MACHINE}`);
  refuseOther(place);
  const child = snapshotsIn(dirname(place)).find(
    (other) => !also.has(other) && parentOf(other) === basename(place),
  );
  if (child !== undefined) {
    throw new SnapshotError(path, `${child} continues it, and cannot be restored without it: delete both`);
  }
  // Under another name first: what is left after a crash is not half a snapshot.
  const trash = new HiddenFolder(place);
  renameSync(place, join(trash.path, "deleted"));
  trash.remove();
}

/** Undefined also for one that cannot be read: it continues nothing. */
function parentOf(path: string): string | undefined {
  try {
    return describeSnapshot(path).manifest.parent?.name;
  } catch (error) {
    if (error instanceof SnapshotError) return undefined;
    throw error;
  }
}
