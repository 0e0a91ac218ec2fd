/**
 * What programs do with the persistent dirty bitmaps of an image: add, remove, clear,
 * enable, disable and merge them, and copy them into another image.
 *
 * Source: QEMU's `qemu-img bitmap` and its messages; docs/interop/bitmaps.rst.
 */
import { ImageError } from "../../disk/image-error.ts";
import {
  type BitmapDescription,
  MAX_GRANULARITY_BITS,
  MIN_GRANULARITY_BITS,
  readBitmapDirectory,
} from "./bitmap-directory.ts";
import { readBits } from "./dirty-bitmaps.ts";
import type { DirtyBits } from "./dirty-bits.ts";
import type { Qcow2Image } from "./image.ts";

const MIN_DEFAULT_GRANULARITY = 4096;
const MAX_DEFAULT_GRANULARITY = 65536;

/** One step; the steps of one call reach the file together. */
export type BitmapChange =
  | { readonly kind: "add"; readonly granularity?: number | undefined }
  | { readonly kind: "remove" | "clear" | "enable" | "disable" }
  | {
      readonly kind: "merge";
      /** The name of the bitmap whose marks are added. */
      readonly from: string;
      /** The image that has it, if it is another one. */
      readonly image?: Qcow2Image | undefined;
    };

/** The bitmaps of an image. @throws {ImageError} if the directory is not valid; {SystemError} */
export function bitmapsOf(image: Qcow2Image): readonly BitmapDescription[] {
  return readBitmapDirectory(image.file, image.header)?.entries ?? [];
}

/**
 * Changes the bitmap `name` of an image that is open for writing.
 *
 * @throws {ImageError} if it exists already, does not exist, or is inconsistent; if it would be
 *   too large; {SystemError}
 */
export function changeBitmap(image: Qcow2Image, name: string, changes: readonly BitmapChange[]): void {
  const bitmaps = image.metadata.bitmapsToChange;
  for (const change of changes) {
    switch (change.kind) {
      case "add":
        bitmaps.add(name, granularityOf(image, change.granularity), true);
        break;
      case "remove":
        bitmaps.remove(name);
        break;
      case "clear":
        bitmaps.bitsOf(name).clear();
        break;
      case "enable":
      case "disable":
        bitmaps.setAuto(name, change.kind === "enable");
        break;
      case "merge": {
        const source = change.image ?? image;
        const target = bitmaps.bitsOf(name);
        if (source !== image) merge(image, target, source, bitsIn(source, change.from));
        else target.merge(bitmaps.bitsOf(change.from));
      }
    }
  }
  bitmaps.store();
}

/** @throws {ImageError | SystemError} */
export function removeAllBitmaps(image: Qcow2Image): void {
  const bitmaps = image.metadata.bitmapsToChange;
  for (const name of bitmaps.names) bitmaps.remove(name);
  bitmaps.store();
}

/** Copies bitmaps of one image into another with the same disk. @throws as `changeBitmap` */
export function copyBitmaps(source: Qcow2Image, target: Qcow2Image, names: readonly string[]): void {
  const bitmaps = target.metadata.bitmapsToChange;
  const wanted = bitmapsOf(source).filter(({ name }) => names.includes(name));
  for (const { name, granularity, auto } of wanted) {
    merge(target, bitmaps.add(name, granularity, auto), source, bitsIn(source, name));
  }
  if (wanted.length > 0) bitmaps.store();
}

function granularityOf(image: Qcow2Image, wanted: number | undefined): number {
  if (wanted === undefined) {
    return Math.min(MAX_DEFAULT_GRANULARITY, Math.max(MIN_DEFAULT_GRANULARITY, image.clusterSize));
  }
  const bits = Math.log2(wanted);
  if (Number.isInteger(bits) && bits >= MIN_GRANULARITY_BITS && bits <= MAX_GRANULARITY_BITS) return wanted;
  throw new ImageError(image.path, "Granularity must be power of 2 and at least 512");
}

function bitsIn(image: Qcow2Image, name: string): DirtyBits {
  const entry = readBitmapDirectory(image.file, image.header)?.entries.find((each) => each.name === name);
  if (entry === undefined) throw new ImageError(image.path, `Dirty bitmap '${name}' not found`);
  return readBits(image.file, image.header, entry);
}

function merge(image: Qcow2Image, target: DirtyBits, other: Qcow2Image, bits: DirtyBits): void {
  if (image.size !== other.size) {
    throw new ImageError(
      image.path,
      `Bitmaps are of different sizes (destination size is ${image.size}, source size is ${other.size}) and can't be merged`,
    );
  }
  target.merge(bits);
}
