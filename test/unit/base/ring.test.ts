import { expect, test } from "vitest";
import { ByteRing } from "../../../src/base/ring.ts";
import { random } from "../../support/random.ts";

const TAIL = 0;
const HEAD = 16;

function ring(capacity: number, startAt = 0) {
  const words = new Int32Array(new SharedArrayBuffer(ByteRing.words(capacity) * 4));
  words[TAIL] = words[HEAD] = startAt;
  return { words, ring: new ByteRing(words) };
}

function takeAll(from: ByteRing, atMost = 1 << 20): number[] {
  const into = new Uint8Array(atMost);
  return [...into.subarray(0, from.take(into))];
}

test("bytes come out in the order they went in, once", () => {
  const { ring: r } = ring(8);
  for (const byte of [1, 2, 255]) expect(r.put(byte)).toBe(true);
  expect(r.length).toBe(3);
  expect(takeAll(r)).toEqual([1, 2, 255]);
  expect(takeAll(r)).toEqual([]);
});

test("a full ring takes nothing more and loses nothing", () => {
  const { ring: r } = ring(8);
  for (let i = 0; i < 8; i++) expect(r.put(i)).toBe(true);
  expect(r.put(99)).toBe(false);
  expect(takeAll(r, 3)).toEqual([0, 1, 2]);
  expect(r.put(8)).toBe(true);
  expect(takeAll(r)).toEqual([3, 4, 5, 6, 7, 8]);
});

test.each([0, 0x7fff_fff0, -16])("keeps its order across any wrap, counters starting at %i", (startAt) => {
  const { ring: r } = ring(64, startAt);
  const next = random(startAt >>> 0);
  let put = 0;
  let taken = 0;
  while (taken < 10_000) {
    for (let n = next() * 80; n > 0; n--) if (r.put(put & 0xff)) put++;
    for (const byte of takeAll(r, Math.floor(next() * 80))) expect(byte).toBe(taken++ & 0xff);
    expect(r.length).toBe(put - taken);
  }
});

test("a consumer that armed is woken once for a batch", () => {
  const { ring: r } = ring(8);
  expect(r.arm()).toBe(true);
  r.put(1);
  expect(r.takeArmed()).toBe(true);
  r.put(2);
  expect(r.takeArmed()).toBe(false);
});

test("a consumer that is not asleep is not woken", () => {
  const { ring: r } = ring(8);
  r.put(1);
  expect(r.takeArmed()).toBe(false);
});

test("arming tells a consumer that it missed something, and leaves no flag behind", () => {
  const { ring: r } = ring(8);
  r.put(1);
  expect(r.arm()).toBe(false);
  expect(r.takeArmed()).toBe(false);
});

test("waiting for room ends at once when there is room, and in time when there is none", () => {
  const { ring: r } = ring(4);
  expect(r.waitForRoom(60_000)).toBe(true);
  for (let i = 0; i < 4; i++) r.put(i);
  expect(r.waitForRoom(5)).toBe(false);
  takeAll(r, 1);
  expect(r.waitForRoom(60_000)).toBe(true);
});

test("a second object over the same words is the same ring", () => {
  const { words, ring: producer } = ring(8);
  const consumer = new ByteRing(words);
  producer.put(5);
  expect(takeAll(consumer)).toEqual([5]);
});

test.each([0, 12, 24])("a capacity of %i is refused: it must be a power of two, 4 or more", (capacity) => {
  expect(() => ring(capacity).ring.capacity).toThrow(RangeError);
});
