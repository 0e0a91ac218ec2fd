import { expect, test } from "vitest";
import { bucketStart, bucketSums, timeBuckets } from "../page/time-buckets.ts";

const VALUES = Array.from({ length: 1000 }, (_, n) => n);
const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

test("buckets of the whole hold all that the bins hold", () => {
  const buckets = timeBuckets(10, VALUES.length, 0, 10_000, 90);
  expect(buckets.count).toBeLessThanOrEqual(90);
  expect(total(bucketSums(VALUES, buckets))).toBe(total(VALUES));
});

test("looked at closely, a bucket is a bin", () => {
  const buckets = timeBuckets(10, VALUES.length, 200, 300, 90);
  expect(buckets).toMatchObject({ first: 20, group: 1, count: 10, width: 10 });
  expect(bucketSums(VALUES, buckets)).toEqual(VALUES.slice(20, 30));
});

test("buckets begin at multiples of their width, so that moving along does not change them", () => {
  for (const from of [0, 30, 75, 990]) {
    const buckets = timeBuckets(10, VALUES.length, from, from + 5000, 90);
    expect(bucketStart(buckets, 0) % buckets.width).toBe(0);
    expect(bucketStart(buckets, 0)).toBeLessThanOrEqual(from);
    expect(bucketStart(buckets, buckets.count)).toBeGreaterThanOrEqual(from + 5000);
  }
});

test("a range beyond the last bin has the last bin", () => {
  const buckets = timeBuckets(10, 5, 900, 1000, 90);
  expect(bucketSums([1, 2, 3, 4, 5], buckets)).toEqual([5]);
});
