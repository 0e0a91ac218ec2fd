import { expect, test } from "vitest";
import { ramRegions } from "../../../src/machine/memory-map.ts";
import { GuestMemory, type RamSource } from "../../../src/memory/guest-memory.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function small(size = 8 * MIB) {
  const buffer = new SharedArrayBuffer(size);
  return { buffer, memory: new GuestMemory({ size, map: () => buffer }, ramRegions(size)) };
}

/** RAM of any size whose every chunk shows 64 bytes: its own number. */
function large(size: number) {
  const maps: { offset: number; length: number }[] = [];
  const ram: RamSource = {
    size,
    map(offset, length) {
      maps.push({ offset, length });
      return new Uint8Array(64).fill(maps.length).buffer;
    },
  };
  return { maps, memory: new GuestMemory(ram, ramRegions(size)) };
}

test("an address in RAM is its offset; above the hole, the hole is left out", () => {
  const { memory } = large(5 * GIB);
  expect(memory.translate(0, 1)).toBe(0);
  expect(memory.translate(3 * GIB - 1, 1)).toBe(3 * GIB - 1);
  expect(memory.translate(4 * GIB, 4096)).toBe(3 * GIB);
  expect(memory.translate(6 * GIB - 1, 1)).toBe(5 * GIB - 1);
});

test.each([
  ["before RAM", -1, 1],
  ["far before RAM", -(2 ** 53), 1],
  ["in the hole", 3 * GIB, 1],
  ["at the end of the hole", 4 * GIB - 1, 1],
  ["reaching into the hole", 3 * GIB - 1, 2],
  ["across the hole", 3 * GIB - 8, GIB + 16],
  ["from the hole into RAM", 4 * GIB - 1, 2],
  ["behind RAM", 6 * GIB, 1],
  ["reaching behind RAM", 6 * GIB - 1, 2],
  ["with a negative length", 4096, -1],
  ["with a negative length that ends in RAM", 6 * GIB + 10, -20],
  ["of no address", Number.NaN, 1],
  ["of no length", 0, Number.NaN],
  ["of endless length", 0, Number.POSITIVE_INFINITY],
  ["at infinity", Number.POSITIVE_INFINITY, 1],
  ["at minus infinity", Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY],
  ["that wraps in 32 bits", 2 ** 32 - 1, 2],
  ["that wraps in 64 bits", 2 ** 64 - 4096, 8192],
  ["beyond exact numbers", 2 ** 53, 2 ** 53],
  ["whose end rounds", 4096, 2 ** 53 - 1],
])("a range %s is not RAM", (_what, address, length) => {
  expect(large(5 * GIB).memory.translate(address, length)).toBe(-1);
});

test("an empty range is RAM up to the end of RAM, and not behind it", () => {
  const { memory } = small();
  expect(memory.translate(8 * MIB, 0)).toBe(8 * MIB);
  expect(memory.translate(8 * MIB + 1, 0)).toBe(-1);
  expect(memory.read(8 * MIB, 0).length).toBe(0);
});

test("RAM of any size is mapped in small pieces, each once, when it is first used", () => {
  for (const size of [4096, 2 * GIB, 2 * GIB + 4096, 5 * GIB]) {
    const { maps, memory } = large(size);
    expect(maps).toEqual([]);
    let end = 0;
    for (let offset = 0; offset < size; offset += 8 * MIB) {
      memory.getUint8(offset);
      memory.getUint8(offset);
    }
    for (const { offset, length } of maps) {
      expect(offset).toBeLessThanOrEqual(end);
      expect(length).toBeLessThan(16 * MIB);
      end = offset + length;
    }
    expect(end).toBe(size);
  }
});

test("a field is read where it is, above 2 GiB and above 4 GiB too", () => {
  const { memory } = large(7 * GIB);
  for (const [offset, chunk] of [
    [0, 1],
    [16 * MIB + 16, 2],
    [2 * GIB, 3],
    [4 * GIB + 8, 4],
    [6 * GIB + 40, 5],
  ]) {
    expect(memory.getUint8(offset)).toBe(chunk);
    expect(memory.getUint16(offset)).toBe(chunk * 0x101);
    expect(memory.getUint32(offset)).toBe(chunk * 0x1010101);
    expect(memory.getUint64(offset)).toBe(chunk * 0x1010101 * (2 ** 32 + 1));
    memory.setUint32(offset, 0x8765_4321);
    expect(memory.getUint8(offset)).toBe(0x21);
    expect([...memory.window(offset, 4)]).toEqual([0x21, 0x43, 0x65, 0x87]);
  }
});

test("fields are little-endian, and what one writes the other reads", () => {
  const { memory, buffer } = small();
  memory.setUint8(3, 0x1ff);
  memory.setUint16(4, 0x1234);
  memory.setUint32(8, 0xfedc_ba98);
  expect([...new Uint8Array(buffer, 0, 12)]).toEqual([
    0, 0, 0, 0xff, 0x34, 0x12, 0, 0, 0x98, 0xba, 0xdc, 0xfe,
  ]);
  expect(memory.getUint16(4)).toBe(0x1234);
  expect(memory.getUint32(8)).toBe(0xfedc_ba98);
  memory.setUint32(12, 0x001f_ffff);
  expect(memory.getUint64(8)).toBe(0x001f_ffff_fedc_ba98);
});

test("a window is the guest's own memory", () => {
  const { memory, buffer } = small();
  memory.window(4096, 4).set([1, 2, 3, 4]);
  expect([...new Uint8Array(buffer, 4095, 6)]).toEqual([0, 1, 2, 3, 4, 0]);
  expect(memory.window(0, 2 * MIB).length).toBe(2 * MIB);
});

test.each([
  ["longer than 2 MiB", 0, 2 * MIB + 1],
  ["past the end of RAM", 8 * MIB - 1, 2],
  ["behind RAM", 2 ** 40, 1],
  ["at the offset of no RAM", -1, 16],
  ["of no offset", Number.NaN, 1],
  ["of negative length", 16, -8],
  ["of no length", 16, Number.NaN],
])("there is no window %s", (_what, offset, length) => {
  expect(() => small().memory.window(offset, length)).toThrow(RangeError);
});

test("reads and writes of any length cross windows without a seam", () => {
  const { memory, buffer } = small();
  const bytes = Uint8Array.from({ length: 5 * MIB + 17 }, (_, i) => (i * 7 + (i >>> 8)) & 0xff);
  memory.write(MIB - 3, bytes);
  expect(Buffer.compare(new Uint8Array(buffer, MIB - 3, bytes.length), bytes)).toBe(0);
  expect(Buffer.compare(memory.read(MIB - 3, bytes.length), bytes)).toBe(0);
  expect(memory.read(MIB - 4, 1)[0]).toBe(0);
  expect(memory.read(MIB - 3 + bytes.length, 1)[0]).toBe(0);
});

test("what is read is a copy", () => {
  const { memory } = small();
  const copy = memory.read(0, 4);
  memory.write(0, Uint8Array.of(9, 9, 9, 9));
  expect([...copy]).toEqual([0, 0, 0, 0]);
});

test("a write that does not fit writes nothing", () => {
  const { memory } = small();
  expect(() => memory.write(8 * MIB - 2, Uint8Array.of(1, 2, 3))).toThrow(
    new RangeError("0x7ffffe: 3 bytes there are not all guest RAM"),
  );
  expect([...memory.read(8 * MIB - 2, 2)]).toEqual([0, 0]);
});

test.each([2 ** 33, 2 ** 53, -1, Number.NaN])(
  "reading %d bytes is refused before any are made room for",
  (n) => {
    expect(() => small().memory.read(0, n)).toThrow(`0x0: ${n} bytes there are not all guest RAM`);
  },
);
