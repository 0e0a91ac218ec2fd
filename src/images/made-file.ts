/**
 * A file that becomes an image, in place of whatever it held before. If that fails,
 * nothing is left that looks like one.
 */
import { existsSync, truncateSync, unlinkSync } from "node:fs";
import { HostFile } from "../sys/file.ts";
import { hostPath, realPath } from "../sys/host-path.ts";
import { lockImage } from "./file-lock.ts";

export interface MadeFile {
  /** Locked until it is closed. */
  readonly file: HostFile;
  /** Removes the file; one that was there before is empty then. Does nothing to a device. */
  readonly undo: () => void;
}

/**
 * Opens a file for writing, and makes it if it is not there; also where a symbolic
 * link leads to it.
 *
 * @param overwrite false: it is an error if there is such a file
 * @throws {ImageInUseError} if somebody uses it; {SystemError}
 */
export function makeFile(path: string, overwrite: boolean): MadeFile {
  const isNew = !existsSync(hostPath(path));
  const file = overwrite && isNew ? HostFile.openOrMake(path) : HostFile.open(path, { create: !overwrite });
  const { isBlockDevice } = file;
  const undo = () => {
    if (isBlockDevice) return;
    try {
      if (isNew) unlinkSync(hostPath(realPath(path)));
      else truncateSync(hostPath(path));
    } catch {
      // What made it fail is what there is to say.
    }
  };
  try {
    lockImage(file, "format");
    return { file, undo };
  } catch (error) {
    file.close();
    if (isNew) undo();
    throw error;
  }
}
