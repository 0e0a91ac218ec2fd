/**
 * A file that becomes an image, in place of its contents. If that fails, nothing is
 * left that looks like an image.
 */
import { existsSync, truncateSync, unlinkSync } from "node:fs";
import { HostFile } from "../sys/file.ts";
import { hostPath, realPath } from "../sys/host-path.ts";
import { lockImage } from "./file-lock.ts";

export interface MadeFile {
  /** Locked until it is closed. */
  readonly file: HostFile;
  /** Removes the file; one that existed before is emptied. Does nothing to a device. */
  readonly undo: () => void;
}

/**
 * Opens a file for writing, and creates it if it does not exist; also the target of
 * a symbolic link.
 *
 * @param overwrite false: it is an error if the file exists
 * @throws {ImageInUseError} if another program uses it; {SystemError}
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
      // The first error is the one to report.
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
