/**
 * Which pages of RAM were written, for several readers at once, such as two
 * traces. Reading KVM's log clears it. So only this class reads it, and keeps
 * for every reader the pages that this reader has not taken yet. Pages that
 * devices wrote are included.
 */

import { PAGE } from "../base/units.ts";
import type { RegisteredSlot, Vm } from "../kvm/vm.ts";
import { countDirty, dirtyBitmapBytes } from "../memory/dirty.ts";
import type { DirtyMap } from "../memory/dirty-map.ts";
import type { RamRegion } from "../memory/guest-memory.ts";

/** api.rst, 4.35. */
const KVM_MEM_LOG_DIRTY_PAGES = 1;
const PAGES_PER_WORD = 32;

export interface DirtyLogParts {
  readonly vm: Pick<Vm, "getDirtyLog">;
  /** The memory slots that KVM has now. */
  slots(): readonly RegisteredSlot[];
  readonly ram: readonly RamRegion[];
  readonly devices: DirtyMap;
  /** Switches KVM's log on or off. */
  log(on: boolean): void;
}

/** One reader, with the pages that were written since it last took them. */
export interface DirtyReader {
  /** One bit for each page; bit 0 of word 0 is the page at RAM offset 0. Valid until the next call. */
  take(): Uint32Array;
  /** This reader has written these pages itself: so others find them. @param pages as `take` returns them */
  wrote(pages: Uint32Array): void;
  close(): void;
}

export class DirtyLog {
  readonly #parts: DirtyLogParts;
  readonly #words: number;
  /** What each reader has not taken. */
  readonly #readers = new Set<Uint32Array>();

  constructor(parts: DirtyLogParts) {
    this.#parts = parts;
    const pages = Math.max(...parts.ram.map(({ offset, size }) => (offset + size) / PAGE));
    this.#words = Math.ceil(pages / PAGES_PER_WORD);
  }

  /**
   * From now on, written pages are kept for this reader too. KVM then maps small pages and
   * write-protects them, which makes the guest slower.
   * @throws {KvmError} if KVM refuses to log
   */
  open(): DirtyReader {
    if (this.#readers.size === 0) {
      this.#parts.devices.on = true;
      this.#parts.log(true);
    } else {
      this.#collect(); // earlier pages are for the other readers
    }
    const pending = new Uint32Array(this.#words);
    const taken = new Uint32Array(this.#words);
    this.#readers.add(pending);
    return {
      take: () => {
        this.#collect();
        taken.set(pending);
        pending.fill(0);
        return taken;
      },
      wrote: (pages) => {
        for (const other of this.#readers) if (other !== pending) add(other, pages);
      },
      close: () => {
        if (!this.#readers.delete(pending) || this.#readers.size > 0) return;
        this.#parts.devices.on = false;
        this.#parts.log(false);
      },
    };
  }

  /** Counts pages by granule of guest-physical memory: see countDirty. @param pages as a reader took them */
  count(pages: Uint32Array): [granule: number, pages: number][] {
    return this.#parts.ram.flatMap(({ address, size, offset }) => {
      const first = offset / PAGE / PAGES_PER_WORD;
      return countDirty(pages.subarray(first, first + Math.ceil(size / PAGE / PAGES_PER_WORD)), address);
    });
  }

  #collect(): void {
    const { vm, slots, ram, devices } = this.#parts;
    const all = new Uint32Array(this.#words);
    for (const { slot, flags, guestPhysAddr, memorySize } of slots()) {
      if ((flags & KVM_MEM_LOG_DIRTY_PAGES) === 0) continue;
      const region = ram.find(({ address, size }) => {
        return guestPhysAddr >= address && guestPhysAddr + memorySize <= address + size;
      });
      if (region === undefined) continue;
      const bytes = new Uint8Array(dirtyBitmapBytes(memorySize));
      vm.getDirtyLog(slot, bytes);
      const firstPage = (region.offset + guestPhysAddr - region.address) / PAGE;
      orInto(all, firstPage, new Uint32Array(bytes.buffer));
    }
    devices.take(all);
    for (const pending of this.#readers) add(pending, all);
  }
}

function add(to: Uint32Array, pages: Uint32Array): void {
  for (let n = 0; n < pages.length; n++) if (pages[n] !== 0) to[n] |= pages[n];
}

/** Adds a bitmap whose first bit is page `firstPage`. */
function orInto(all: Uint32Array, firstPage: number, bitmap: Uint32Array): void {
  const shift = firstPage % PAGES_PER_WORD;
  const first = (firstPage - shift) / PAGES_PER_WORD;
  for (let n = 0; n < bitmap.length; n++) {
    if (bitmap[n] === 0) continue;
    all[first + n] |= bitmap[n] << shift;
    if (shift !== 0 && first + n + 1 < all.length)
      all[first + n + 1] |= bitmap[n] >>> (PAGES_PER_WORD - shift);
  }
}
