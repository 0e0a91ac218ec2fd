/**
 * Guest-physical memory as every part of the monitor sees it: RAM regions that
 * alias one mapping, and the one place where an address or length that came
 * from a guest is checked.
 *
 * Three kinds of number: an `address` is guest-physical; an `offset` is a place
 * in the RAM mapping, what native I/O takes; a `length` is in bytes. Addresses
 * are exact up to 2^53.
 *
 * The mapping is seen through chunks, each made at its first use: a copy of a machine
 * touches few of them. V8 counts their bytes, and larger ones would start garbage collections: see native/handle.h.
 * Chunks overlap by a margin, so that any access up to that margin lies whole within one.
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
  /** The mapped bytes themselves, not a copy. `length` less than 64 MiB. */
  map(offset: number, length: number): ArrayBufferLike;
}

/** Bytes of one chunk, and by how much each reaches into the next. */
const CHUNK_BITS = 23;
const CHUNK = 2 ** CHUNK_BITS;
const MARGIN = 2 ** 21;
const INT_LIMIT = 2 ** 31;

/** The same bytes twice. */
interface Chunk {
  readonly bytes: Uint8Array;
  readonly data: DataView;
}

const NOTHING = new Uint8Array();

export class GuestMemory {
  readonly regions: readonly RamRegion[];
  readonly size: number;
  readonly #ram: RamSource;
  readonly #chunks: (Chunk | undefined)[];

  constructor(ram: RamSource, regions: readonly RamRegion[]) {
    this.regions = regions;
    this.size = ram.size;
    this.#ram = ram;
    this.#chunks = Array.from({ length: Math.ceil(ram.size / CHUNK) }, () => undefined);
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
    return this.#chunkAt(offset).data.getUint8(placeIn(offset));
  }

  getUint16(offset: number): number {
    return this.#chunkAt(offset).data.getUint16(placeIn(offset), true);
  }

  getUint32(offset: number): number {
    return this.#chunkAt(offset).data.getUint32(placeIn(offset), true);
  }

  /** A 64-bit value as a number; above 2^53 it is not exact, and no valid address or length. */
  getUint64(offset: number): number {
    const data = this.#chunkAt(offset).data;
    const at = placeIn(offset);
    const low = data.getUint32(at, true);
    const high = data.getUint32(at + 4, true);
    return high === 0 ? low : low + high * 2 ** 32; // integers are cheaper, and most values are small
  }

  setUint8(offset: number, value: number): void {
    this.#chunkAt(offset).data.setUint8(placeIn(offset), value);
  }

  setUint16(offset: number, value: number): void {
    this.#chunkAt(offset).data.setUint16(placeIn(offset), value, true);
  }

  setUint32(offset: number, value: number): void {
    this.#chunkAt(offset).data.setUint32(placeIn(offset), value, true);
  }

  /**
   * The guest's own bytes at a RAM offset, not a copy; `length` at most 2 MiB.
   * @throws {RangeError} beyond that or past the end of RAM.
   */
  window(offset: number, length: number): Uint8Array {
    if (!(offset >= 0 && length >= 0 && length <= MARGIN && offset + length <= this.size)) {
      throw new RangeError(`no window of ${length} bytes at RAM offset ${offset}`);
    }
    if (offset === this.size) return NOTHING;
    const start = placeIn(offset);
    return this.#chunkAt(offset).bytes.subarray(start, start + length);
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

  #chunkAt(offset: number): Chunk {
    return this.#chunks[chunkOf(offset)] ?? this.#makeChunk(chunkOf(offset));
  }

  #makeChunk(index: number): Chunk {
    const start = index * CHUNK;
    if (!(start >= 0 && start < this.size)) throw new RangeError(`RAM ends before offset ${start}`);
    const buffer = this.#ram.map(start, Math.min(CHUNK + MARGIN, this.size - start));
    const chunk = { bytes: new Uint8Array(buffer), data: new DataView(buffer) };
    this.#chunks[index] = chunk;
    return chunk;
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
  return offset < INT_LIMIT ? offset >> CHUNK_BITS : Math.floor(offset / CHUNK);
}

/** Place in its chunk. The remainder of doubles costs 8 ns, and most offsets are integers. */
function placeIn(offset: number): number {
  return offset < INT_LIMIT ? offset & (CHUNK - 1) : offset % CHUNK;
}
