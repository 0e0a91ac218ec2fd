import { expect, test } from "vitest";
import { BackOff } from "../../../src/base/back-off.ts";

/** Occasions that are skipped before the next try. */
function skipped(backOff: BackOff): number {
  let count = 0;
  while (!backOff.take()) count++;
  return count;
}

test("each failure doubles what is skipped, up to 63, and a success ends it", () => {
  const backOff = new BackOff();
  const skips = Array.from({ length: 8 }, () => {
    backOff.tried(false);
    return skipped(backOff);
  });
  expect(skips).toEqual([1, 3, 7, 15, 31, 63, 63, 63]);
  backOff.tried(true);
  expect(skipped(backOff)).toBe(0);
  backOff.tried(false);
  expect(skipped(backOff)).toBe(1);
});

test("so many occasions may come before the first try", () => {
  const backOff = new BackOff(2);
  expect(backOff.ready).toBe(false);
  expect(skipped(backOff)).toBe(2);
  expect(backOff.ready).toBe(true);
});
