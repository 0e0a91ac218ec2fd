/**
 * The `working-set` file of a snapshot: the pages that a machine touched after it
 * was restored. It is a hint: without it, or if it is damaged, nothing is read
 * ahead.
 *
 * Source: docs/snapshot-format.md; Linux Documentation/admin-guide/mm/pagemap.rst.
 */
import { closeSync, openSync, readFileSync, readSync, statSync, writeFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { MIB, PAGE } from "../base/units.ts";
import { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { decodeRuns, encodeRuns, type PageRun, runsOf } from "./page-runs.ts";
import { decodeSections, encodeSections } from "./sections.ts";
import { SnapshotError } from "./snapshot-error.ts";

const SECTION = "working-set";
/** More than any list has that was written. */
const MAX_BYTES = 64 * MIB;
/** What is read before the event loop has its turn. */
const PIECE_PAGES = (2 * MIB) / PAGE;
const ENTRY_BYTES = 8;
/** Bit 63 of an entry, in its highest byte. */
const PRESENT = 0x80;

/** @param size bytes of RAM @returns undefined if there is none that can be used */
export function readWorkingSet(path: string, size: number): PageRun[] | undefined {
  try {
    if (statSync(path).size > MAX_BYTES) return undefined;
    const list = decodeSections(readFileSync(path), path).get(SECTION);
    return list === undefined ? undefined : decodeRuns(list.bytes, size, path);
  } catch (error) {
    if (error instanceof SnapshotError || (error instanceof Error && "code" in error)) return undefined;
    throw error;
  }
}

/** Writes the pages of `ram` that are mapped now. A folder that cannot be written stays without. */
export function writeWorkingSet(path: string, ram: GuestRam): void {
  const bytes = encodeRuns(mappedPages(ram));
  try {
    writeFileSync(path, encodeSections([{ name: SECTION, version: 1, bytes }]));
  } catch {}
}

/**
 * Reads pages ahead: from the file in its order, and into the page tables of this process.
 * @param file the `ram` of a snapshot, which `ram` maps
 */
export async function prefetch(file: string, runs: readonly PageRun[], ram: GuestRam): Promise<void> {
  const opened = HostFile.open(file, { readOnly: true });
  const piece = new Uint8Array(PIECE_PAGES * PAGE);
  try {
    let done = 0;
    for (const [first, count] of runs) {
      for (let at = first; at < first + count; ) {
        const pages = Math.min(first + count - at, PIECE_PAGES);
        opened.read(piece.subarray(0, pages * PAGE), at * PAGE);
        touch(new Uint8Array(ram.map(at * PAGE, pages * PAGE)));
        at += pages;
        done += pages;
        if (done < PIECE_PAGES) continue;
        done = 0;
        await setImmediate();
      }
    }
  } finally {
    opened.close();
  }
}

function touch(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += PAGE) sum += bytes[at];
  return sum;
}

/** Pages of a mapping that this process has touched, or the kernel has mapped with one of these. */
function mappedPages(ram: GuestRam): PageRun[] {
  const pages = ram.size / PAGE;
  const entries = new Uint8Array(pages * ENTRY_BYTES);
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    readSync(fd, entries, 0, entries.length, (ram.hostAddress / PAGE) * ENTRY_BYTES);
  } finally {
    closeSync(fd);
  }
  return runsOf(pages, (page) => (entries[page * ENTRY_BYTES + ENTRY_BYTES - 1] & PRESENT) !== 0);
}
