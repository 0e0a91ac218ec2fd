/**
 * Which guest pages were written, as KVM_GET_DIRTY_LOG reports it: a bit a page,
 * bit 0 of byte 0 the first one.
 */
import { PAGE } from "../base/units.ts";

/** Bytes that are counted together: a large page. */
export const GRANULE = 2 ** 21;

const PAGES_PER_WORD = 32;
const WORDS_PER_GRANULE = GRANULE / PAGE / PAGES_PER_WORD;

/** Bytes of the bitmap for a slot of `size` bytes: KVM rounds up to 64 pages. */
export function dirtyBitmapBytes(size: number): number {
  return Math.ceil(size / PAGE / 64) * 8;
}

/**
 * Pages written by granule, of granules with any.
 *
 * @param words a bitmap of memory at guest-physical `address`, a multiple of GRANULE
 * @returns pairs: address / GRANULE, and pages written there
 */
export function countDirty(words: Uint32Array, address: number): [granule: number, pages: number][] {
  const counts: [number, number][] = [];
  for (let at = 0; at < words.length; at += WORDS_PER_GRANULE) {
    let pages = 0;
    const end = Math.min(at + WORDS_PER_GRANULE, words.length);
    for (let word = at; word < end; word++) if (words[word] !== 0) pages += ones(words[word]);
    if (pages > 0) counts.push([address / GRANULE + at / WORDS_PER_GRANULE, pages]);
  }
  return counts;
}

function ones(word: number): number {
  let left = word;
  let count = 0;
  for (; left !== 0; count++) left &= left - 1;
  return count;
}
