/**
 * A disk image as a guest's disk: applies the drive's options, and makes transfers
 * asynchronous by AsyncIo.
 */

import { EIO } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import type { AsyncIo } from "../sys/async-io.ts";
import { SystemError } from "../sys/errors.ts";
import type { EventFd } from "../sys/event.ts";
import type { BlockBackend } from "./backend.ts";
import type { DiskImage } from "./image.ts";
import { ImageError } from "./image-error.ts";
import { WINDOW } from "./io-memory.ts";
import type { Transfers } from "./transfers.ts";
import { isZero } from "./zeros.ts";

/** For writes of zeros only: "on" makes the range read as zeros without data, "unmap" also frees its storage. */
export type DetectZeroes = "off" | "on" | "unmap";

export interface GuestDiskOptions {
  /** True: discards free storage. False: they have no effect. */
  readonly discards: boolean;
  readonly detectZeroes: DetectZeroes;
}

export class GuestDisk implements BlockBackend {
  #image: DiskImage;
  readonly #io: AsyncIo;
  readonly #transfers: Transfers;
  readonly #options: GuestDiskOptions;

  /** @param image is closed with the disk, like `io` */
  constructor(image: DiskImage, io: AsyncIo, transfers: Transfers, options: GuestDiskOptions) {
    this.#image = image;
    this.#io = io;
    this.#transfers = transfers;
    this.#options = options;
    image.settleWith?.(() => transfers.drain());
  }

  get image(): DiskImage {
    return this.#image;
  }

  /** Puts another image in the place of this one, which is closed. */
  change(image: DiskImage): void {
    this.drain();
    const old = this.#image;
    this.#image = image;
    image.settleWith?.(() => this.#transfers.drain());
    old.close();
  }

  get size(): number {
    return this.image.size;
  }

  get readOnly(): boolean {
    return this.image.readOnly;
  }

  get blockSize(): number {
    return this.image.blockSize;
  }

  get event(): EventFd {
    return this.#io.event;
  }

  get result(): number {
    return this.#transfers.result;
  }

  readv(pieces: Pieces, offset: number, tag: number): number {
    this.#transfers.begin(tag);
    let result: number;
    try {
      result = this.image.readv(this.#transfers, pieces, offset);
    } catch (error) {
      result = resultOf(error);
    }
    return this.#transfers.end(result);
  }

  writev(pieces: Pieces, offset: number, dsync: boolean, tag: number): number {
    this.#transfers.begin(tag);
    let result: number;
    try {
      result =
        this.#options.detectZeroes !== "off" && this.#isZero(pieces)
          ? this.#zero(pieces, offset, dsync)
          : this.image.writev(this.#transfers, pieces, offset, dsync);
    } catch (error) {
      result = resultOf(error);
    }
    return this.#transfers.end(result);
  }

  flush(tag: number): number {
    this.#transfers.begin(tag);
    let result: number;
    try {
      const file = this.image.fileToFlush?.();
      result = file === undefined ? this.image.flush() : Math.min(0, this.#transfers.flush(file));
    } catch (error) {
      result = resultOf(error);
    }
    return this.#transfers.end(result);
  }

  /** A request may discard several ranges, one after the other: only the first is EINPROGRESS then. */
  discard(offset: number, length: number, tag: number): number {
    if (!this.#options.discards) return 0;
    const transfers = this.#transfers;
    try {
      const file = this.image.fileToErase?.("discard");
      if (file === undefined) return this.image.discard(offset, length);
      if (!transfers.isOpen(tag)) {
        transfers.begin(tag);
        return transfers.end(transfers.discard(file, offset, length));
      }
      if (!transfers.resume(tag)) return this.image.discard(offset, length);
      return transfers.suspend(transfers.discard(file, offset, length));
    } catch (error) {
      return resultOf(error);
    }
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, tag: number): number {
    const unmaps = mayUnmap && this.#options.discards;
    const transfers = this.#transfers;
    try {
      const file = this.image.fileToErase?.(unmaps ? "unmap" : "zero");
      if (file === undefined) return this.image.writeZeroes(offset, length, unmaps);
      transfers.begin(tag);
      return transfers.end(transfers.writeZeroes(file, offset, length, unmaps));
    } catch (error) {
      return resultOf(error);
    }
  }

  submit(): void {
    this.#transfers.submit();
  }

  take(): number {
    return this.#transfers.take();
  }

  drain(): boolean {
    this.#transfers.drain();
    return true;
  }

  close(): void {
    this.drain();
    try {
      this.image.close();
    } finally {
      this.#io.close();
    }
  }

  #isZero({ pairs, first, count }: Pieces): boolean {
    for (let i = first; i < first + count; i++) {
      for (let done = 0; done < pairs[2 * i + 1]; done += WINDOW) {
        const length = Math.min(WINDOW, pairs[2 * i + 1] - done);
        if (!isZero(this.#transfers.window(pairs[2 * i] + done, length))) return false;
      }
    }
    return true;
  }

  #zero(pieces: Pieces, offset: number, dsync: boolean): number {
    const length = pieces.bytes;
    const mayUnmap = this.#options.detectZeroes === "unmap" && this.#options.discards;
    const zeroed = this.image.writeZeroes(offset, length, mayUnmap);
    const result = zeroed >= 0 && dsync ? this.image.flush() : zeroed;
    return result < 0 ? result : length;
  }
}

/** -errno for a failure of the image. Any other exception is our bug, and is thrown again. */
function resultOf(error: unknown): number {
  if (error instanceof SystemError) return error.errno;
  if (error instanceof ImageError) return EIO;
  throw error;
}
