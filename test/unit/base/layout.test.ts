import { expect, test } from "vitest";
import { layout } from "../../../src/base/layout.ts";

const Sample = layout("sample", 3, {
  byte: "u8",
  half: "u16",
  word: "u32",
  signed: "i32",
  name: { bytes: 3 },
  time: "f64",
  big: "u64",
  table: { u32: 2 },
});

test("fields lie in the order of declaration, each at a multiple of its width", () => {
  expect(Sample.offsets).toEqual({
    byte: 0,
    half: 2,
    word: 4,
    signed: 8,
    name: 12,
    time: 16,
    big: 24,
    table: 32,
  });
  expect(Sample.size).toBe(40);
  expect([Sample.name, Sample.version]).toEqual(["sample", 3]);
});

test("fields are little-endian bytes of the buffer, where the offsets say", () => {
  const buffer = new SharedArrayBuffer(48);
  const view = Sample.view(buffer, 8);
  view.half = 0x1234;
  view.word = 0xdeadbeef;
  view.signed = -2;
  view.name.set([7, 8, 9]);
  view.time = 2 ** 53 - 1;
  view.big = 2n ** 64n - 1n;
  view.table[1] = 5;
  const data = new DataView(buffer, 8);
  expect(data.getUint16(2, true)).toBe(0x1234);
  expect(data.getUint32(4, true)).toBe(0xdeadbeef);
  expect(data.getInt32(8, true)).toBe(-2);
  expect(data.getUint8(14)).toBe(9);
  expect(data.getFloat64(16, true)).toBe(2 ** 53 - 1);
  expect(data.getBigUint64(24, true)).toBe(2n ** 64n - 1n);
  expect(data.getUint32(36, true)).toBe(5);
});

test("a field takes the low bits of what it is given, as a register does", () => {
  const view = Sample.view(new ArrayBuffer(40), 0);
  view.byte = 0x1ff;
  view.half = -1;
  view.word = 2 ** 32 + 7;
  expect([view.byte, view.half, view.word]).toEqual([0xff, 0xffff, 7]);
});

test("two views of one place see each other's writes; views of two places do not", () => {
  const buffer = new SharedArrayBuffer(80);
  const [one, same, other] = [Sample.view(buffer, 0), Sample.view(buffer, 0), Sample.view(buffer, 40)];
  one.word = 42;
  expect([same.word, other.word]).toEqual([42, 0]);
});

test.each([4, -8, 8, 48])(
  "a view at %i, where the block is unaligned or does not fit, is refused",
  (offset) => {
    expect(() => Sample.view(new SharedArrayBuffer(40), offset)).toThrow(/^sample: 40 bytes at/);
  },
);

test("a field name that is not an identifier is refused: names become code", () => {
  expect(() => layout("bad", 1, { "a;b": "u8" })).toThrow('layout bad: "a;b" is not a field name');
});

test("a block without fields still has a place", () => {
  expect(layout("empty", 1, {}).size).toBe(8);
});
