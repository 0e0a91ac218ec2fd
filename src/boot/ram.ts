/** The RAM into which boot images are placed: whether something fits, and where else it would. */
import { hex } from "../base/hex.ts";
import { GIB, MIB, PAGE } from "../base/units.ts";
import { BootError, type MemoryRange, type Placement } from "./plan.ts";

export interface Range {
  readonly address: number;
  readonly size: number;
}

const FOUR_GIB = 4 * GIB;

export class Ram {
  /** Ascending and disjoint; ranges that touch are one. */
  readonly #ranges: Range[] = [];

  constructor(memory: readonly MemoryRange[]) {
    const ram = memory.filter(({ type, size }) => type === "ram" && size > 0);
    for (const { address, size } of ram.sort((a, b) => a.address - b.address)) {
      const last = this.#ranges.at(-1);
      if (last !== undefined && last.address + last.size === address) {
        this.#ranges[this.#ranges.length - 1] = { address: last.address, size: last.size + size };
      } else {
        this.#ranges.push({ address, size });
      }
    }
  }

  /** True if all of the range is RAM. */
  holds({ address, size }: Range): boolean {
    return this.#ranges.some((r) => address >= r.address && address + size <= r.address + r.size);
  }

  /** Where the RAM around `address` ends; `address` itself if it is not RAM. */
  endAt(address: number): number {
    const range = this.#ranges.find((r) => address >= r.address && address < r.address + r.size);
    return range === undefined ? address : range.address + range.size;
  }

  /** The lowest multiple of `alignment` from `from` on with `size` bytes of RAM below 4 GiB, or -1. */
  lowest(size: number, alignment: number, from: number): number {
    for (const range of this.#ranges) {
      const address = Math.ceil(Math.max(range.address, from) / alignment) * alignment;
      if (address + size > FOUR_GIB) return -1;
      if (address + size <= range.address + range.size) return address;
    }
    return -1;
  }

  /** The highest page with `size` bytes of RAM from it that end at or below `limit` and touch none of `taken`, or -1. */
  highest(size: number, from: number, limit: number, taken: readonly Range[]): number {
    const pageBelow = (end: number) => Math.floor((end - size) / PAGE) * PAGE;
    const downward = [...taken].sort((a, b) => b.address - a.address);
    for (const range of [...this.#ranges].reverse()) {
      let address = pageBelow(Math.min(range.address + range.size, limit));
      // Going down, a range once passed is never met again.
      for (const other of downward) {
        if (address < other.address + other.size && other.address < address + size) {
          address = pageBelow(other.address);
        }
      }
      if (address >= Math.max(range.address, from)) return address;
    }
    return -1;
  }

  /** Where RAM below 4 GiB ends; 0 if there is none. */
  get lowEnd(): number {
    const below = this.#ranges.filter(({ address }) => address < FOUR_GIB);
    const last = below.at(-1);
    return last === undefined ? 0 : Math.min(last.address + last.size, FOUR_GIB);
  }

  /** False if the guest has RAM above 4 GiB: giving it more would then not make room below. */
  get growsBelow4G(): boolean {
    const last = this.#ranges.at(-1);
    return last === undefined || last.address + last.size <= FOUR_GIB;
  }
}

/**
 * The last check of every plan: all of it is RAM and no two parts share a byte.
 * @throws {BootError} that names the part.
 */
export function checkPlacements(placements: readonly Placement[], ram: Ram, name: string): void {
  for (const placement of placements) {
    if (!ram.holds(placement)) {
      throw new BootError(
        `${name}: ${describe(placement)} is not in RAM, which ends at ${inMib(ram.lowEnd)}`,
      );
    }
  }
  const sorted = [...placements].filter(({ size }) => size > 0).sort((a, b) => a.address - b.address);
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i - 1].address + sorted[i - 1].size > sorted[i].address) {
      throw new BootError(`${name}: ${describe(sorted[i - 1])} overlaps ${describe(sorted[i])}`);
    }
  }
}

/** What the user can do about it. A kernel that starts may need more memory to continue. */
export function notEnoughRam(ram: Ram, needed: number): string {
  const has = `the guest's RAM below 4 GiB ends at ${inMib(ram.lowEnd)}`;
  if (!ram.growsBelow4G || needed > FOUR_GIB) return `${has}, and more memory would not help`;
  return `${has}; ${inMib(Math.ceil(needed / MIB) * MIB)} would be enough to start it`;
}

function describe({ what, address, size }: Placement): string {
  return `${what} (${hex(address)} to ${hex(address + size)})`;
}

function inMib(bytes: number): string {
  return bytes % MIB === 0 ? `${bytes / MIB}M` : `${(bytes / MIB).toFixed(1)}M`;
}
