import { expect, test } from "vitest";
import { ResultRing } from "../../../../src/threads/io/result-ring.ts";

function rings(tags: number): [putter: ResultRing, taker: ResultRing] {
  const buffer = new SharedArrayBuffer(ResultRing.bytes(tags));
  return [new ResultRing(buffer), new ResultRing(buffer)];
}

test.each([1, 3, 4, 256])(
  "each result is taken once, however often a ring for %i tags goes round",
  (tags) => {
    const [putter, taker] = rings(tags);
    for (let round = 0; round < 10; round++) {
      for (let tag = 0; tag < tags; tag++) putter.put(tag, tag - round);
      for (let tag = 0; tag < tags; tag++) {
        expect(taker.take()).toBe(true);
        expect([taker.tag, taker.result]).toEqual([tag, tag - round]);
      }
      expect(taker.take()).toBe(false);
    }
  },
);

test("a wait ends at once if there is a result, and after its time if there is none", () => {
  const [putter, taker] = rings(4);
  const started = performance.now();
  taker.wait(20);
  expect(performance.now() - started).toBeGreaterThan(15);
  putter.put(1, -28);
  taker.wait(60_000);
  expect(taker.take()).toBe(true);
});
