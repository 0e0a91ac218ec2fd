import { expect, test } from "vitest";
import { Arena } from "../../../src/base/arena.ts";
import { layout } from "../../../src/base/layout.ts";
import { isHeld } from "../../support/locks.ts";

const Small = layout("small", 1, { a: "u8" });
const Large = layout("large", 2, { bytes: { bytes: 100 }, last: "u8" });

function fill(arena: Arena) {
  return {
    small: arena.take(Small, "com1"),
    lock: arena.takeLock("com1"),
    large: arena.take(Large, "blk0"),
    counts: arena.takeCounters(3, "ports"),
    words: arena.takeWords(5, "ring"),
    after: arena.take(Small, "com2"),
  };
}

test("two threads that ask for the same blocks get the same places", () => {
  const buffer = new SharedArrayBuffer(1024);
  const [one, two] = [fill(new Arena(buffer)), fill(new Arena(buffer))];
  one.small.a = 1;
  one.large.last = 2;
  one.counts[2] = 3;
  one.words[4] = 4;
  one.after.a = 5;
  one.lock.acquire();
  expect([two.small.a, two.large.last, two.counts[2], two.words[4], two.after.a]).toEqual([1, 2, 3, 4, 5]);
  expect(isHeld(two.lock)).toBe(true);
});

test("no block reaches into another", () => {
  const { small, large, counts, words, after } = fill(new Arena(new SharedArrayBuffer(1024)));
  large.bytes.fill(0xff);
  large.last = 0xff;
  counts.fill(-1);
  words.fill(-1);
  expect([small.a, after.a]).toEqual([0, 0]);
  small.a = 9;
  after.a = 9;
  expect([large.bytes[0], counts[0], words[0]]).toEqual([0xff, -1, -1]);
});

test("the list of blocks names owner, layout, version and place, for a snapshot; locks and counters are not in it", () => {
  const arena = new Arena(new SharedArrayBuffer(1024));
  fill(arena);
  expect(arena.blocks).toEqual([
    { owner: "com1", layout: "small", version: 1, offset: 0, length: 8 },
    { owner: "blk0", layout: "large", version: 2, offset: 128, length: 104 },
    { owner: "com2", layout: "small", version: 1, offset: 384, length: 8 },
  ]);
});

test("a machine that outgrows its state says whose block did not fit", () => {
  const arena = new Arena(new SharedArrayBuffer(128));
  arena.take(Small, "com1");
  expect(() => arena.take(Large, "blk0")).toThrow("blk0: the machine's state outgrew its 128 bytes");
});
