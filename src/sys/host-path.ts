/** Names of files for node:fs, also such as are not UTF-8. */
import { realpathSync } from "node:fs";
import { bytesOfText, hasEscapes, textOfBytes } from "../base/byte-text.ts";

/** @throws {RangeError} for half a character, which Node would change into another one */
export function hostPath(path: string): string | Buffer {
  return hasEscapes(path) ? Buffer.from(bytesOfText(path)) : path;
}

/** The path without symbolic links. @throws as realpathSync */
export function realPath(path: string): string {
  return textOfBytes(realpathSync.native(hostPath(path), { encoding: "buffer" }));
}
