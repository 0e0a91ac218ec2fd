/**
 * Names of other files that an image contains: its backing file, its external
 * data file. Whoever made the image chose them, and that may be a guest or a
 * stranger; so only plain paths are followed, and only within the folder of the
 * image that the user named, unless the user says otherwise.
 */
import { statSync } from "node:fs";
import { dirname, sep } from "node:path";
import { ImageError } from "../disk/image-error.ts";
import { hostPath, realPath } from "../sys/host-path.ts";
import { fileNamedIn } from "./file-name.ts";

/** "folder": those in the image's own folder and below. "anywhere": any plain path. "none": they are not opened. */
export type OtherFiles = "folder" | "anywhere" | "none";

/**
 * The path of a file that an image names.
 *
 * @param image path of the image that has the name in it
 * @param top path of the image that the user named
 * @param what "backing file" or "data file"
 * @throws {ImageError} for a name that is not followed.
 */
export function resolveOtherFile(
  image: string,
  name: string,
  top: string,
  policy: OtherFiles,
  what: string,
): string {
  const refuse = (why: string): never => {
    throw new ImageError(image, `its ${what} ${JSON.stringify(name)} ${why}`);
  };
  if (name.includes("\0")) refuse("has a name that no file can have");
  const path = pathOf(image, name, refuse);
  if (policy === "anywhere") return path;
  let real: string;
  try {
    real = realPath(path);
  } catch (error) {
    if (isMissing(error)) {
      throw new ImageError(
        image,
        `Could not open ${what}: Could not open '${path}': No such file or directory`,
      );
    }
    return refuse("cannot be reached");
  }
  const folder = realPath(dirname(top));
  const inside = real.startsWith(folder.endsWith(sep) ? folder : folder + sep);
  if (!inside) {
    refuse(`lies outside the folder of the image, "${folder}"; say other-files=anywhere to follow it`);
  }
  if (!statSync(hostPath(real)).isFile())
    refuse("is not a regular file; say other-files=anywhere to follow it");
  return path;
}

function pathOf(image: string, name: string, refuse: (why: string) => never): string {
  try {
    return fileNamedIn(image, name);
  } catch (error) {
    if (error instanceof ImageError) return refuse("is not a plain path; only files are followed");
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
