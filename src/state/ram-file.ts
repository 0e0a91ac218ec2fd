/**
 * The `ram` file of a snapshot: guest RAM byte for byte, as long as the RAM, with
 * holes for pages of zeros. It is mapped, not read, when a machine is restored.
 * In a snapshot that continues another it has only the pages that were written
 * since; their list is in the snapshot's state.
 *
 * Its checksum covers pages with their numbers: those of the list, or those that
 * are not all zeros. So a copy of the file may have other holes.
 */
import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { MIB, PAGE } from "../base/units.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { type PageRun, runsOf, runsOfBitmap } from "./page-runs.ts";

/** What is copied before the event loop has its turn. No run of pages reaches over its border. */
const PIECE = 2 * MIB;
const PIECE_PAGES = PIECE / PAGE;

/** A file as it was written. */
export interface RamFacts {
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  /** Pages that it has: without a list those that are not all zeros. */
  readonly pages: number;
  readonly crc32: number;
}

/** A new file, while RAM is copied to it. */
export class RamCopy {
  readonly #ram: GuestRam;
  readonly #memory: GuestMemory;
  readonly #file: HostFile;

  /** @param memory over the same RAM @throws {SystemError} for a file that cannot be made */
  constructor(ram: GuestRam, memory: GuestMemory, path: string) {
    this.#ram = ram;
    this.#memory = memory;
    this.#file = HostFile.open(path, { create: true });
    this.#file.truncate(ram.size);
  }

  /** Copies every page that is not all zeros, as it is when its turn comes. @param turn is called between pieces */
  async copyContents(turn: () => void): Promise<void> {
    const { size } = this.#ram;
    for (let offset = 0; offset < size; offset += PIECE) {
      const length = Math.min(PIECE, size - offset);
      const bitmap = this.#ram.contents(offset, length);
      const isSet = (page: number) => ((bitmap[page >> 3] >> (page & 7)) & 1) === 1;
      for (const [first, count] of runsOf(length / PAGE, isSet)) this.#copy(offset / PAGE + first, count);
      await setImmediate();
      turn();
    }
  }

  /** Copies these pages, zeros too. @param pages a bit a page, bit 0 of word 0 the first; @param turn as above */
  async copyPages(pages: Uint32Array, turn: () => void): Promise<void> {
    let copied = 0;
    for (const [first, count] of cut(runsOfBitmap(pages))) {
      this.#copy(first, count);
      copied += count;
      if (copied < PIECE_PAGES) continue;
      copied = 0;
      await setImmediate();
      turn();
    }
  }

  close(): void {
    this.#file.close();
  }

  #copy(first: number, count: number): void {
    this.#file.write(this.#memory.window(first * PAGE, count * PAGE), first * PAGE);
  }
}

/** What a file has. @param list the pages that count, if not those that are not all zeros */
export async function examineRam(path: string, list?: readonly PageRun[]): Promise<RamFacts> {
  const file = HostFile.open(path, { readOnly: true });
  try {
    const sum = new PageSum();
    if (list === undefined) await sumContents(file, sum);
    else await eachListed(file, list, (first, bytes) => sum.add(first, bytes));
    return { size: file.size, pages: sum.pages, crc32: sum.crc32 };
  } finally {
    file.close();
  }
}

/** Copies the listed pages of a file to RAM, which nobody uses yet. */
export function loadPages(path: string, list: readonly PageRun[], ram: GuestRam): void {
  const file = HostFile.open(path, { readOnly: true });
  try {
    for (const [first, count] of cut(list)) file.readInto(ram, first * PAGE, count * PAGE, first * PAGE);
  } finally {
    file.close();
  }
}

async function sumContents(file: HostFile, sum: PageSum): Promise<void> {
  const { size } = file;
  const piece = new Uint8Array(PIECE);
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
}

async function eachListed(
  file: HostFile,
  list: readonly PageRun[],
  visit: (first: number, bytes: Uint8Array) => void,
): Promise<void> {
  const piece = new Uint8Array(PIECE);
  let done = 0;
  for (const [first, count] of cut(list)) {
    const bytes = piece.subarray(0, count * PAGE);
    file.read(bytes, first * PAGE);
    visit(first, bytes);
    done += count;
    if (done < PIECE_PAGES) continue;
    done = 0;
    await setImmediate();
  }
}

/** Runs that reach over the border of a piece are several: no larger piece of RAM can be seen at once. */
function* cut(runs: Iterable<PageRun>): Generator<PageRun> {
  for (const [first, count] of runs) {
    const end = first + count;
    for (let at = first; at < end; ) {
      const next = Math.min(end, at - (at % PIECE_PAGES) + PIECE_PAGES);
      yield [at, next - at];
      at = next;
    }
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

const ZEROS = new Uint8Array(PAGE);

function isZero(page: Uint8Array): boolean {
  return Buffer.compare(page, ZEROS) === 0;
}
