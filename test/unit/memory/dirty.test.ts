import { expect, test } from "vitest";
import { countDirty as count, dirtyBitmapBytes, GRANULE } from "../../../src/memory/dirty.ts";

const countDirty = (bitmap: Uint8Array, address: number) =>
  count(new Uint32Array(bitmap.buffer, 0, bitmap.length / 4), address);

test("pages are counted in the large page that they lie in", () => {
  const bitmap = new Uint8Array(dirtyBitmapBytes(8 * 2 ** 20));
  expect(bitmap.length).toBe(2048 / 8);
  bitmap[0] = 0b1000_0001; // pages 0 and 7
  bitmap[63] = 0x80; // the last page of the first granule
  bitmap[64] = 0x01; // the first of the second
  bitmap.fill(0xff, 192); // all of the fourth
  expect(countDirty(bitmap, 0)).toEqual([
    [0, 3],
    [1, 1],
    [3, 512],
  ]);
  expect(countDirty(bitmap, 4 * 2 ** 30).map(([granule]) => granule * GRANULE)).toEqual([
    4 * 2 ** 30,
    4 * 2 ** 30 + GRANULE,
    4 * 2 ** 30 + 3 * GRANULE,
  ]);
});

test("a slot that is not a whole number of granules, or of 64 pages, is counted to its end", () => {
  const bitmap = new Uint8Array(dirtyBitmapBytes(3 * 2 ** 20 + 4096));
  expect(bitmap.length).toBe(13 * 8);
  bitmap[96] = 1; // page 768
  expect(countDirty(bitmap, 0)).toEqual([[1, 1]]);
  expect(countDirty(new Uint8Array(dirtyBitmapBytes(4096)), 0)).toEqual([]);
});
