/**
 * The memory of a request's data, and its transfers: guest RAM, or a buffer of the
 * program.
 *
 * Image formats move data by Pieces of the memory. Data of a file is moved by `readv` and `writev`; only data that is
 * in no file (zeros, decompressed clusters) is written through a window.
 */
import type { Pieces } from "../base/pieces.ts";
import type { HostFile } from "../sys/file.ts";

/** The largest window in bytes. */
export const WINDOW = 2 ** 21;

export interface IoMemory {
  /** As HostFile.readv. A transfer may be asynchronous: then it counts as successful here, and the memory's owner gets its error. */
  readv(file: HostFile, pieces: Pieces, fileOffset: number): number;
  /** As HostFile.writev, with the same exception. */
  writev(file: HostFile, pieces: Pieces, fileOffset: number, dsync: boolean): number;
  /** The bytes themselves, not a copy; at most WINDOW of them. @throws {RangeError} outside the memory. */
  window(offset: number, length: number): Uint8Array;
}

/** A buffer. Offsets count from its start. Transfers complete before they return. */
export class BufferMemory implements IoMemory {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  readv(file: HostFile, pieces: Pieces, fileOffset: number): number {
    return file.readv(this.#bytes, pieces, fileOffset);
  }

  writev(file: HostFile, pieces: Pieces, fileOffset: number, dsync: boolean): number {
    return file.writev(this.#bytes, pieces, fileOffset, dsync);
  }

  window(offset: number, length: number): Uint8Array {
    const bytes = this.#bytes;
    if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) {
      throw new RangeError(`no window of ${length} bytes at offset ${offset} of a buffer`);
    }
    return bytes.subarray(offset, offset + length);
  }
}

/** Clears pieces of memory. */
export function clear(memory: IoMemory, { pairs, first, count }: Pieces): void {
  for (let i = first; i < first + count; i++) {
    for (let done = 0; done < pairs[2 * i + 1]; done += WINDOW) {
      memory.window(pairs[2 * i] + done, Math.min(WINDOW, pairs[2 * i + 1] - done)).fill(0);
    }
  }
}

/** Fills pieces of memory with `bytes`, which have the same total length. */
export function fill(memory: IoMemory, { pairs, first, count }: Pieces, bytes: Uint8Array): void {
  let done = 0;
  for (let i = first; i < first + count; i++) {
    for (let left = pairs[2 * i + 1]; left > 0; ) {
      const part = Math.min(WINDOW, left);
      memory.window(pairs[2 * i] + pairs[2 * i + 1] - left, part).set(bytes.subarray(done, done + part));
      done += part;
      left -= part;
    }
  }
}
