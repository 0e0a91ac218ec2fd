/**
 * An image as a DiskSource. Its calls block, so requests are served one after the
 * other.
 */

import { EOPNOTSUPP } from "../base/errno.ts";
import { blockStatus } from "../disk/block-status.ts";
import type { DiskSource, SourceExtent } from "../disk/disk-source.ts";
import { type DiskImage, readDisk, writeDisk } from "../disk/image.ts";
import { check } from "../sys/errors.ts";

export class ImageSource implements DiskSource {
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly #image: DiskImage;

  /** Closing the source closes the image. */
  constructor(image: DiskImage) {
    this.#image = image;
    this.size = image.size;
    this.readOnly = image.readOnly;
    this.blockSize = Math.min(MAX_BLOCK, image.blockSize);
  }

  read(offset: number, views: readonly Uint8Array[]): void {
    let at = offset;
    for (const view of views) {
      readDisk(this.#image, view, at);
      at += view.length;
    }
  }

  write(offset: number, views: readonly Uint8Array[]): void {
    let at = offset;
    for (const view of views) {
      writeDisk(this.#image, view, at);
      at += view.length;
    }
  }

  flush(): void {
    check(this.#image.flush(), "fdatasync", `flushing ${this.#image.path}`);
  }

  discard(offset: number, length: number): void {
    const result = this.#image.discard(offset, length);
    // A discard without effect is harmless.
    if (result !== EOPNOTSUPP) check(result, "fallocate", `discarding in ${this.#image.path} at ${offset}`);
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    const result = this.#image.writeZeroes(offset, length, mayUnmap);
    check(result, "fallocate", `clearing ${this.#image.path} at ${offset}`);
  }

  extentAt(offset: number, length: number): SourceExtent {
    const { length: found, zero, data } = blockStatus(this.#image, offset, length);
    return { length: found, zero, hole: !data };
  }

  close(): void {
    this.#image.close();
  }
}

const MAX_BLOCK = 65536;
