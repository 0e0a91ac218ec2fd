/**
 * The memory of a bus-master transfer, as the driver describes it: a table of
 * physical region descriptors in guest memory.
 *
 * Nothing in it is trusted: each descriptor is read once and checked by GuestMemory,
 * and a table ends after 64 KiB whatever it says, as the data sheet has it.
 *
 * Source: "Programming Interface for Bus Master IDE Controller", 1.0, section 1.2.
 */
import { Pieces } from "../base/pieces.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

const DESCRIPTOR = 8;
const MAX_DESCRIPTORS = 65536 / DESCRIPTOR;
const WHOLE = 65536; // what a length of 0 means
const LAST = 0x8000_0000;
/** Pieces of one transfer; a table with more is moved by several. */
const MAX_PIECES = 256;

/** In place of a length: a descriptor, or its memory, is not RAM. */
export const NOT_RAM = -1;

export class PrdTable {
  /** What `gather` found: RAM offsets. */
  readonly pieces = new Pieces(new Float64Array(2 * MAX_PIECES), 0);
  /** `gather` reached the end of the last descriptor. */
  isExhausted = false;
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /**
   * Fills `pieces` with up to `wanted` bytes of the memory that the table describes, after
   * its first `skipped` bytes.
   *
   * @param address guest-physical, of the table
   * @param unit the result is a multiple of it
   * @returns how many bytes they are, or NOT_RAM
   */
  gather(address: number, skipped: number, wanted: number, unit: number): number {
    const memory = this.#memory;
    const { pieces } = this;
    pieces.count = 0;
    this.isExhausted = false;
    let skip = skipped;
    let found = 0;
    for (let n = 0; n < MAX_DESCRIPTORS && found < wanted && pieces.count < MAX_PIECES; n++) {
      const at = memory.translate(address + n * DESCRIPTOR, DESCRIPTOR);
      if (at < 0) return NOT_RAM;
      const start = memory.getUint32(at);
      const word = memory.getUint32(at + 4);
      const length = word & 0xfffe || WHOLE;
      const isLast = word >= LAST;
      if (skip >= length) {
        skip -= length;
      } else {
        const taken = Math.min(length - skip, wanted - found);
        const offset = memory.translate(start - (start % 2) + skip, taken);
        if (offset < 0) return NOT_RAM;
        pieces.pairs[2 * pieces.count] = offset;
        pieces.pairs[2 * pieces.count + 1] = taken;
        pieces.count++;
        found += taken;
        if (isLast && skip + taken === length) this.isExhausted = true;
        skip = 0;
      }
      if (isLast) break;
    }
    return this.#trim(found, found % unit);
  }

  /** Drops the last `excess` bytes: the next transfer, if there is one, begins with them. */
  #trim(found: number, excess: number): number {
    const { pieces } = this;
    for (let left = excess; left > 0; ) {
      const last = 2 * (pieces.count - 1) + 1;
      const dropped = Math.min(left, pieces.pairs[last]);
      pieces.pairs[last] -= dropped;
      left -= dropped;
      if (pieces.pairs[last] === 0) pieces.count--;
    }
    return found - excess;
  }
}
