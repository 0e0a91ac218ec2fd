/**
 * The `ram` file of a snapshot: guest RAM byte for byte, as long as the RAM, with
 * holes for pages of zeros. It is mapped, not read, when a machine is restored.
 *
 * Its checksum covers the pages that are not all zeros, with their numbers. So a
 * copy of the file may have other holes.
 */
import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { MIB, PAGE } from "../base/units.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";

/** What is written before the event loop has its turn. No run of pages reaches over its border. */
const PIECE = 2 * MIB;

/** A file as it was written. */
export interface RamFacts {
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  /** Pages that are not all zeros. */
  readonly pages: number;
  readonly crc32: number;
}

/** Writes what is in `ram`, which nobody changes meanwhile, to a new file. @param memory over the same RAM */
export async function writeRam(ram: GuestRam, memory: GuestMemory, path: string): Promise<RamFacts> {
  const file = HostFile.open(path, { create: true });
  try {
    file.truncate(ram.size);
    const sum = new PageSum();
    for (let offset = 0; offset < ram.size; offset += PIECE) {
      const length = Math.min(PIECE, ram.size - offset);
      const bitmap = ram.contents(offset, length);
      for (const [first, count] of runsOf(
        length / PAGE,
        (page) => ((bitmap[page >> 3] >> (page & 7)) & 1) === 1,
      )) {
        const bytes = memory.window(offset + first * PAGE, count * PAGE);
        file.write(bytes, offset + first * PAGE);
        sum.add(offset / PAGE + first, bytes);
      }
      await setImmediate();
    }
    return { size: ram.size, pages: sum.pages, crc32: sum.crc32 };
  } finally {
    file.close();
  }
}

/** What `writeRam` would say of a file now. */
export async function examineRam(path: string): Promise<RamFacts> {
  const file = HostFile.open(path, { readOnly: true });
  try {
    const { size } = file;
    const piece = new Uint8Array(PIECE);
    const sum = new PageSum();
    for (let at = file.nextData(0); at < size; at = file.nextData(at)) {
      const offset = at - (at % PIECE);
      const bytes = piece.subarray(0, file.read(piece, offset));
      const page = (n: number) => bytes.subarray(n * PAGE, (n + 1) * PAGE);
      for (const [first, count] of runsOf(Math.floor(bytes.length / PAGE), (n) => !isZero(page(n)))) {
        sum.add(offset / PAGE + first, bytes.subarray(first * PAGE, (first + count) * PAGE));
      }
      at = offset + PIECE;
      await setImmediate();
    }
    return { size, pages: sum.pages, crc32: sum.crc32 };
  } finally {
    file.close();
  }
}

class PageSum {
  pages = 0;
  crc32 = 0;
  readonly #number = new Uint8Array(8);

  /** Pages from number `first` on. */
  add(first: number, bytes: Uint8Array): void {
    new DataView(this.#number.buffer).setBigUint64(0, BigInt(first), true);
    this.crc32 = crc32(bytes, crc32(this.#number, this.crc32));
    this.pages += bytes.length / PAGE;
  }
}

/** Maximal runs of the pages below `count` that `is` is true of. */
function runsOf(count: number, is: (page: number) => boolean): [first: number, count: number][] {
  const runs: [number, number][] = [];
  for (let page = 0; page < count; page++) {
    if (!is(page)) continue;
    const first = page;
    while (page < count && is(page)) page++;
    runs.push([first, page - first]);
  }
  return runs;
}

const ZEROS = new Uint8Array(PAGE);

function isZero(page: Uint8Array): boolean {
  return Buffer.compare(page, ZEROS) === 0;
}
