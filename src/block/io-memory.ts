/**
 * Where the data of a transfer lies: guest RAM, or a buffer of the program's.
 *
 * Image formats move data by `iov`: pairs of an offset in the memory and a
 * length in bytes, as doubles. The system call is given the pairs; only what no
 * file holds (zeros, decompressed clusters) is written through a window.
 */
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { TransferMemory } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";

/** Bytes that a window may have at most. */
export const WINDOW = 2 ** 21;

export interface IoMemory {
  /** What HostFile's transfers take. */
  readonly io: TransferMemory;
  /** The bytes themselves, not a copy; at most WINDOW of them. @throws {RangeError} outside the memory. */
  window(offset: number, length: number): Uint8Array;
}

/** Guest RAM. Offsets are those that GuestMemory.translate gives. */
export class RamMemory implements IoMemory {
  readonly io: GuestRam;
  readonly #memory: GuestMemory;

  constructor(ram: GuestRam, memory: GuestMemory) {
    this.io = ram;
    this.#memory = memory;
  }

  window(offset: number, length: number): Uint8Array {
    return this.#memory.window(offset, length);
  }
}

/** A buffer. Offsets count from its start. */
export class BufferMemory implements IoMemory {
  readonly io: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.io = bytes;
  }

  window(offset: number, length: number): Uint8Array {
    const { io } = this;
    if (!(offset >= 0 && length >= 0 && offset + length <= io.length)) {
      throw new RangeError(`no window of ${length} bytes at offset ${offset} of a buffer`);
    }
    return io.subarray(offset, offset + length);
  }
}

/** Clears pieces of memory. */
export function clear(memory: IoMemory, iov: Float64Array, first: number, count: number): void {
  for (let i = first; i < first + count; i++) {
    for (let done = 0; done < iov[2 * i + 1]; done += WINDOW) {
      memory.window(iov[2 * i] + done, Math.min(WINDOW, iov[2 * i + 1] - done)).fill(0);
    }
  }
}

/** Fills pieces of memory with `bytes`, of which there are as many. */
export function fill(
  memory: IoMemory,
  iov: Float64Array,
  first: number,
  count: number,
  bytes: Uint8Array,
): void {
  let done = 0;
  for (let i = first; i < first + count; i++) {
    for (let left = iov[2 * i + 1]; left > 0; ) {
      const part = Math.min(WINDOW, left);
      memory.window(iov[2 * i] + iov[2 * i + 1] - left, part).set(bytes.subarray(done, done + part));
      done += part;
      left -= part;
    }
  }
}
