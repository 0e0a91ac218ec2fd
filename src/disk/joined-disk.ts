/** Several disks in sequence, as one read-only disk. */

import type { Pieces } from "../base/pieces.ts";
import { blockStatus } from "./block-status.ts";
import type { DiskImage, Extent } from "./image.ts";
import type { IoMemory } from "./io-memory.ts";
import { PieceCursor } from "./piece-cursor.ts";
import { ReadOnlyDisk } from "./read-only-disk.ts";

export class JoinedDisk extends ReadOnlyDisk implements DiskImage {
  readonly format = "raw";
  readonly path: string;
  readonly size: number;
  readonly blockSize: number;
  readonly #parts: readonly DiskImage[];
  readonly #cursor = new PieceCursor();

  /** @param parts at least one; the caller closes them */
  constructor(parts: readonly DiskImage[]) {
    super();
    this.#parts = parts;
    this.path = parts.map(({ path }) => path).join(" + ");
    this.size = parts.reduce((sum, { size }) => sum + size, 0);
    this.blockSize = Math.max(...parts.map(({ blockSize }) => blockSize));
  }

  readv(memory: IoMemory, pieces: Pieces, offset: number): number {
    const cursor = this.#cursor;
    const wanted = cursor.begin(pieces);
    for (let done = 0; done < wanted; ) {
      const at = offset + done;
      const { part, base } = this.#partAt(at);
      const length = Math.min(wanted - done, base + part.size - at);
      cursor.take(length);
      const got = part.readv(memory, cursor.portion, at - base);
      if (got < 0) return got;
      done += length;
    }
    return wanted;
  }

  extentAt(start: number, most: number): Extent {
    const { part, base } = this.#partAt(start);
    return blockStatus(part, start - base, Math.min(most, base + part.size - start));
  }

  prefetch(offset: number, length: number): void {
    const { part, base } = this.#partAt(offset);
    part.prefetch?.(offset - base, Math.min(length, base + part.size - offset));
  }

  close(): void {}

  /** The disk with byte `offset`, and the start of that disk. */
  #partAt(offset: number): { readonly part: DiskImage; readonly base: number } {
    let base = 0;
    for (const part of this.#parts) {
      if (offset < base + part.size) return { part, base };
      base += part.size;
    }
    throw new RangeError(`offset ${offset} is beyond the end of ${this.path}`);
  }
}
