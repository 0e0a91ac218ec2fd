/** A drive without a medium, as an image of no bytes. Nobody asks it for data. */
import { EIO } from "../base/errno.ts";
import type { DiskImage } from "./image.ts";

export const EMPTY_DISK: DiskImage = {
  format: "raw",
  path: "an empty drive",
  size: 0,
  readOnly: true,
  blockSize: 512,
  readv: () => EIO,
  writev: () => EIO,
  flush: () => 0,
  discard: () => EIO,
  writeZeroes: () => EIO,
  close() {},
};
