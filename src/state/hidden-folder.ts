/**
 * A folder beside a snapshot, with a hidden name, for what is written or deleted.
 * A lock on a file beside it shows that its process lives: so a later process
 * removes what one that was killed has left.
 *
 * Source: F_OFD_SETLK in fcntl(2): the lock ends with the process.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { HostFile } from "../sys/file.ts";

/** The contents of a lock file: another file of such a name is not ours. */
const MARK = "The folder beside this file belongs to a snapshot that vmexit saves or deletes.\n";
const LOCK_NAME = /^(\.(.+)-[0-9a-f]{8})\.lock$/;
const LOCKED_BYTE = 0;

export class HiddenFolder {
  readonly path: string;
  /** The name that what is replaced has for a moment, where two folders cannot be exchanged in one step. */
  readonly old: string;
  readonly #lockPath: string;
  readonly #lock: HostFile;

  /** @param place the snapshot that it is for @throws {SystemError} and {Error} of Node for a folder that cannot be written */
  constructor(place: string) {
    this.path = join(dirname(place), `.${basename(place)}-${randomBytes(4).toString("hex")}`);
    this.old = oldName(this.path);
    this.#lockPath = `${this.path}.lock`;
    this.#lock = HostFile.open(this.#lockPath, { create: true });
    try {
      lock(this.#lock);
      this.#lock.write(Buffer.from(MARK), 0);
      mkdirSync(this.path);
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Deletes it, if it is still there, with everything in it. */
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
    rmSync(this.#lockPath, { force: true });
    this.#lock.close();
  }
}

/**
 * Removes what processes that were killed have left in `folder`, and puts back a snapshot that was just being
 * replaced. What cannot be read, or may be in use, stays.
 */
export function removeDeadFolders(folder: string): void {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return; // whoever uses the folder next says why
  }
  for (const name of names) {
    const [, hidden, place] = LOCK_NAME.exec(name) ?? [];
    if (hidden === undefined) continue;
    try {
      removeIfDead(join(folder, name), join(folder, hidden), join(folder, place));
    } catch {
      // Somebody else removes it at the same time, or may do it.
    }
  }
}

function removeIfDead(lockPath: string, path: string, place: string): void {
  if (readFileSync(lockPath, "utf8") !== MARK) return;
  const file = HostFile.open(lockPath);
  try {
    if (file.byteIsLocked(LOCKED_BYTE)) return;
    const old = oldName(path);
    if (existsSync(old) && !existsSync(place)) renameSync(old, place);
    rmSync(old, { recursive: true, force: true });
    rmSync(path, { recursive: true, force: true });
    rmSync(lockPath, { force: true });
  } finally {
    file.close();
  }
}

/** Where the file system has no locks, `removeDeadFolders` cannot ask for them either, and leaves everything. */
function lock(file: HostFile): void {
  try {
    file.lockByte(LOCKED_BYTE, true);
  } catch {}
}

function oldName(path: string): string {
  return `${path}-old`;
}
