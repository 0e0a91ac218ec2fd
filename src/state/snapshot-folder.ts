/**
 * The folder of a snapshot while it is written: under a temporary name beside
 * its place, moved there at once when everything in it is on stable storage. So
 * a crash leaves what was there before, whole. What it leaves besides, the next
 * save removes.
 *
 * Source: rename(2), renameat2(2) (RENAME_EXCHANGE), fsync(2).
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { EINVAL, ENOSYS } from "../base/errno.ts";
import { check } from "../sys/errors.ts";
import { native } from "../sys/native.ts";
import { HiddenFolder, removeDeadFolders } from "./hidden-folder.ts";
import { SnapshotError } from "./snapshot-error.ts";

export const MACHINE = "machine.json";
export const STATE = "state";
export const RAM_FILE = "ram";
/** The pages that a restored machine touched first: see working-set.ts. */
export const WORKING_SET = "working-set";
/** What a guest wrote to drive `n`, where that does not reach the drive's own file. */
export const overlayFile = (n: number) => `drive${n}.qcow2`;

/** Whether a file of that name belongs to snapshots. */
export const isSnapshotFile = (name: string) => OURS.test(name);

const OURS = /^(machine\.json|state|ram|working-set|drive\d+\.qcow2)$/;

export class NewSnapshotFolder {
  /** Where it will be. */
  readonly place: string;
  readonly #hidden: HiddenFolder;

  /**
   * @throws {SnapshotError} if another thing than a snapshot is in that place; {Error} of Node for a folder
   *   that cannot be written
   */
  constructor(place: string) {
    this.place = resolve(place);
    removeDeadFolders(dirname(this.place));
    if (existsSync(this.place)) refuseOther(this.place);
    this.#hidden = new HiddenFolder(this.place);
  }

  /** Where it is while it is written. */
  get path(): string {
    return this.#hidden.path;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  write(name: string, bytes: string | Uint8Array): void {
    writeFileSync(this.file(name), bytes);
  }

  /** Puts it in its place. A snapshot that was there is deleted. */
  commit(): void {
    for (const name of readdirSync(this.path)) sync(this.file(name));
    sync(this.path);
    if (existsSync(this.place)) this.#replace();
    else renameSync(this.path, this.place);
    sync(dirname(this.place));
    this.abandon(); // what has its name now: a snapshot that was replaced, or nothing
  }

  /** Deletes what was written. */
  abandon(): void {
    this.#hidden.remove();
  }

  #replace(): void {
    refuseOther(this.place); // it may have changed meanwhile
    const result = native.exchange(this.path, this.place);
    if (result === EINVAL || result === ENOSYS) {
      // This file system cannot: for a moment, the old one has another name.
      const { old } = this.#hidden;
      renameSync(this.place, old);
      try {
        renameSync(this.path, this.place);
      } catch (error) {
        renameSync(old, this.place);
        throw error;
      }
      rmSync(old, { recursive: true });
      return;
    }
    check(result, "renameat2", `replacing ${this.place}`);
  }
}

/** A folder with other files in it is somebody's, whatever else is there. One that is empty was made for this. */
export function refuseOther(place: string): void {
  let names: string[];
  try {
    names = readdirSync(place);
  } catch (error) {
    throw new SnapshotError(place, `it is not a snapshot: ${error instanceof Error ? error.message : error}`);
  }
  if (names.length === 0) return;
  const foreign = names.find((name) => !OURS.test(name));
  if (foreign === undefined && names.includes(MACHINE)) return;
  const why = foreign === undefined ? `it has no ${MACHINE}` : `"${foreign}" is in it`;
  throw new SnapshotError(place, `it is not a snapshot: ${why}`);
}

function sync(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
