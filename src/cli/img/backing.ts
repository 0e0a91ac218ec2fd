/** The backing file of a new image, by its name on the command line. */

import { resolve } from "node:path";
import { didYouMean } from "../../base/errors.ts";
import { ImageError } from "../../disk/image-error.ts";
import { fileNamed, fileNamedIn, nameOfFile } from "../../images/file-name.ts";
import { IMAGE_FORMATS } from "../../images/formats.ts";
import { openImage, probeFormat } from "../../images/open-image.ts";
import { isNbdName } from "../../nbd/address.ts";
import type { Creation } from "./creation.ts";
import { type FileOptions, whyNotOpened } from "./files.ts";
import { ImgError } from "./img-error.ts";

/**
 * Opens the backing file of a new image, to check it. Returns the size of its disk.
 *
 * The format is required: a raw disk that a guest wrote could look like another
 * format, and name files of the host.
 *
 * @param fail makes the error of a sentence
 */
export function backingSize(
  image: string,
  creation: Creation,
  { otherFiles = "folder" }: Pick<FileOptions, "otherFiles">,
  fail: (sentence: string) => ImgError,
): number {
  const name = creation.get("backing_file") ?? "";
  const typed = creation.get("backing_fmt");
  let path = name;
  try {
    path = backingPath(image, name);
    if (typed === undefined) {
      throw fail(
        `Backing file specified without backing format\nDetected format of ${probeFormat(nameOfFile(path))}.`,
      );
    }
    const format = IMAGE_FORMATS.find((known) => known === typed);
    if (format === undefined) {
      throw fail(
        `Unknown driver '${typed}'${didYouMean(typed, IMAGE_FORMATS)}\nCould not open backing image.`,
      );
    }
    using backing = openImage(nameOfFile(path), { format, readOnly: true, otherFiles });
    return backing.size;
  } catch (error) {
    throw error instanceof ImgError
      ? error
      : fail(`${whyNotOpened(path, error)}\nCould not open backing image.`);
  }
}

/** The file that an image names. @throws {ImageError} if it is not a file's name */
export function backingPath(image: string, name: string): string {
  return fileNamedIn(isNbdName(image) ? "" : fileNamed(image), name);
}

/** @throws {ImgError} for an empty name, and for the image's own */
export function checkBackingName(image: string, name: string, fail: (sentence: string) => ImgError): void {
  if (name === "") throw fail("Expected backing file name, got empty string");
  if (isSameName(image, name)) {
    throw fail("Error: Trying to create an image with the same filename as the backing file");
  }
}

function isSameName(image: string, name: string): boolean {
  try {
    return resolve(backingPath(image, name)) === resolve(fileNamed(image));
  } catch (error) {
    if (error instanceof ImageError) return false; // said when it is opened
    throw error;
  }
}
