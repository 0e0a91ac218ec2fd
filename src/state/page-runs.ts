/**
 * Pages of RAM as runs, and the list of the pages that a snapshot has which
 * continues another.
 *
 * Source: docs/snapshot-format.md, section `ram-pages`.
 */
import { PAGE } from "../base/units.ts";
import { SnapshotError } from "./snapshot-error.ts";

/** The number of its first page, and how many. */
export type PageRun = readonly [first: number, count: number];

const PAGES_PER_WORD = 32;
const RUN_BYTES = 8;

/** Maximal runs of the pages below `count` that `is` is true of. */
export function runsOf(count: number, is: (page: number) => boolean): PageRun[] {
  const runs: PageRun[] = [];
  for (let page = 0; page < count; page++) {
    if (!is(page)) continue;
    const first = page;
    while (page < count && is(page)) page++;
    runs.push([first, page - first]);
  }
  return runs;
}

/** @param pages a bit a page, bit 0 of word 0 the first */
export function runsOfBitmap(pages: Uint32Array): PageRun[] {
  const runs: PageRun[] = [];
  let first = -1;
  for (let word = 0; word < pages.length; word++) {
    const bits = pages[word];
    const isUniform = bits === 0 ? first < 0 : bits === 0xffff_ffff && first >= 0;
    if (isUniform) continue; // nothing begins or ends here
    for (let bit = 0; bit < PAGES_PER_WORD; bit++) {
      const page = word * PAGES_PER_WORD + bit;
      const isSet = ((bits >>> bit) & 1) === 1;
      if (isSet && first < 0) first = page;
      if (isSet || first < 0) continue;
      runs.push([first, page - first]);
      first = -1;
    }
  }
  if (first >= 0) runs.push([first, pages.length * PAGES_PER_WORD - first]);
  return runs;
}

/** Two u32 for each run, little-endian. */
export function encodeRuns(runs: readonly PageRun[]): Uint8Array {
  const bytes = new Uint8Array(runs.length * RUN_BYTES);
  const data = new DataView(bytes.buffer);
  runs.forEach(([first, count], n) => {
    data.setUint32(n * RUN_BYTES, first, true);
    data.setUint32(n * RUN_BYTES + 4, count, true);
  });
  return bytes;
}

/**
 * @param size bytes of RAM; @param path for messages
 * @throws {SnapshotError} unless they are in order, apart from each other, and within the RAM
 */
export function decodeRuns(bytes: Uint8Array, size: number, path: string): PageRun[] {
  const wrong = () => new SnapshotError(path, "the list of the pages that it has makes no sense");
  if (bytes.length % RUN_BYTES !== 0) throw wrong();
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const runs: PageRun[] = [];
  let end = 0;
  for (let at = 0; at < bytes.length; at += RUN_BYTES) {
    const first = data.getUint32(at, true);
    const count = data.getUint32(at + 4, true);
    if (first < end || count === 0 || (first + count) * PAGE > size) throw wrong();
    runs.push([first, count]);
    end = first + count;
  }
  return runs;
}
