/**
 * Guest-physical memory as every part of the monitor sees it: RAM regions that
 * alias one mapping, and the one place where an address or length that came
 * from a guest is checked.
 *
 * Three kinds of number: an `address` is guest-physical; an `offset` is a place
 * in the RAM mapping, what native I/O takes; a `length` is in bytes. Addresses
 * are exact up to 2^53.
 *
 * An ArrayBuffer on Node 20 ends at 4 GiB, so the mapping is seen through
 * chunks. Chunks overlap by a margin, so that any access up to that margin lies
 * whole within one.
 */
import { hex } from "../base/hex.ts";

/** A run of guest-physical RAM and where it lies in the mapping. */
export interface RamRegion {
  readonly address: number;
  readonly size: number;
  readonly offset: number;
}

/** The mapping behind guest RAM. */
export interface RamSource {
  /** Length in bytes. */
  readonly size: number;
  /** The mapped bytes themselves, not a copy. `length` at most 4 GiB - 1. */
  map(offset: number, length: number): ArrayBufferLike;
}

/** Bytes of one chunk, and by how much each reaches into the next. */
const CHUNK = 2 ** 31;
const MARGIN = 2 ** 21;

export class GuestMemory {
  readonly regions: readonly RamRegion[];
  readonly size: number;
  readonly #bytes: Uint8Array[] = [];
  readonly #data: DataView[] = [];

  constructor(ram: RamSource, regions: readonly RamRegion[]) {
    this.regions = regions;
    this.size = ram.size;
    for (let offset = 0; offset < ram.size; offset += CHUNK) {
      const buffer = ram.map(offset, Math.min(CHUNK + MARGIN, ram.size - offset));
      this.#bytes.push(new Uint8Array(buffer));
      this.#data.push(new DataView(buffer));
    }
  }

  /**
   * The RAM offset of `length` bytes at guest-physical `address`, or -1 unless
   * all of them are RAM in one region. Any numbers may be given.
   */
  translate(address: number, length: number): number {
    for (const region of this.regions) {
      const distance = address - region.address;
      if (distance >= 0 && length >= 0 && distance + length <= region.size) return region.offset + distance;
    }
    return -1;
  }

  /** Reads at a RAM offset that `translate` gave. */
  getUint8(offset: number): number {
    return this.#data[chunkOf(offset)].getUint8(placeIn(offset));
  }

  getUint16(offset: number): number {
    return this.#data[chunkOf(offset)].getUint16(placeIn(offset), true);
  }

  getUint32(offset: number): number {
    return this.#data[chunkOf(offset)].getUint32(placeIn(offset), true);
  }

  /** A 64-bit value as a number; above 2^53 it is not exact, and no valid address or length. */
  getUint64(offset: number): number {
    const data = this.#data[chunkOf(offset)];
    const at = placeIn(offset);
    const low = data.getUint32(at, true);
    const high = data.getUint32(at + 4, true);
    return high === 0 ? low : low + high * 2 ** 32; // integers are cheaper, and most values are small
  }

  setUint8(offset: number, value: number): void {
    this.#data[chunkOf(offset)].setUint8(placeIn(offset), value);
  }

  setUint16(offset: number, value: number): void {
    this.#data[chunkOf(offset)].setUint16(placeIn(offset), value, true);
  }

  setUint32(offset: number, value: number): void {
    this.#data[chunkOf(offset)].setUint32(placeIn(offset), value, true);
  }

  /**
   * The guest's own bytes at a RAM offset, not a copy; `length` at most 2 MiB.
   * @throws {RangeError} beyond that or past the end of RAM.
   */
  window(offset: number, length: number): Uint8Array {
    const bytes = this.#bytes[chunkOf(offset)];
    const start = placeIn(offset);
    const sane = start >= 0 && length >= 0 && length <= MARGIN;
    if (!sane || bytes === undefined || start + length > bytes.length) {
      throw new RangeError(`no window of ${length} bytes at RAM offset ${offset}`);
    }
    return bytes.subarray(start, start + length);
  }

  /** Copies guest-physical memory out. @throws {RangeError} if any of it is not RAM. */
  read(address: number, length: number): Uint8Array {
    const offset = this.#check(address, length);
    const copy = new Uint8Array(length);
    this.#each(offset, length, (window, done) => copy.set(window, done));
    return copy;
  }

  /** Copies bytes into guest-physical memory. @throws {RangeError} if any of it is not RAM. */
  write(address: number, bytes: Uint8Array): void {
    this.#each(this.#check(address, bytes.length), bytes.length, (window, done) => {
      window.set(bytes.subarray(done, done + window.length));
    });
  }

  #check(address: number, length: number): number {
    const offset = this.translate(address, length);
    if (offset < 0) {
      throw new RangeError(`${hex(address)}: ${length} bytes there are not all guest RAM`);
    }
    return offset;
  }

  /** Calls `visit` with each window of a checked range and the number of bytes before it. */
  #each(offset: number, length: number, visit: (window: Uint8Array, done: number) => void): void {
    for (let done = 0; done < length; done += MARGIN) {
      visit(this.window(offset + done, Math.min(MARGIN, length - done)), done);
    }
  }
}

function chunkOf(offset: number): number {
  return offset < CHUNK ? 0 : Math.floor(offset / CHUNK);
}

/** Place in its chunk. The remainder of doubles costs 8 ns, and most offsets are in the first chunk. */
function placeIn(offset: number): number {
  return offset < CHUNK ? offset : offset % CHUNK;
}
