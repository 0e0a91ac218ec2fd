import { expect, test } from "vitest";
import { AddressSpace, MAX_WINDOWS } from "../../../src/bus/address-space.ts";
import type { AccessSize } from "../../../src/bus/io.ts";

/** Remembers its accesses; each byte read is its own offset. */
class Recorder {
  readonly log: string[] = [];
  read(offset: number, size: AccessSize): number {
    this.log.push(`read ${offset} ${size}`);
    let value = 0;
    for (let i = 0; i < size; i++) value |= (offset + i) << (8 * i);
    return value >>> 0;
  }
  write(offset: number, size: AccessSize, value: number): void {
    this.log.push(`write ${offset} ${size} 0x${value.toString(16)}`);
  }
  reset(): void {}
}

function space(kind: "ports" | "memory") {
  const counts = new Float64Array(1 + MAX_WINDOWS);
  const bus = new AddressSpace(kind, counts);
  const add = (name: string, address: number, length: number, offset = 0) => {
    const device = new Recorder();
    bus.add({ name, address, length, device, offset });
    return device;
  };
  return { bus, counts, add };
}

const BOTH = [
  ["ports", 0x3f8],
  ["memory", 0xd000_0000],
] as const;

test.each(BOTH)("%s: an access reaches its device with the offset in the window", (kind, base) => {
  const { bus, add } = space(kind);
  const device = add("com1", base, 8);
  expect(bus.read(base + 5, 1)).toBe(5);
  expect(bus.read(base + 4, 4)).toBe(0x07060504);
  bus.write(base, 2, 0xbeef);
  expect(device.log).toEqual(["read 5 1", "read 4 4", "write 0 2 0xbeef"]);
});

test.each(BOTH)(
  "%s: an address nobody claims reads all ones of its width, and writes vanish",
  (kind, base) => {
    const { bus, add } = space(kind);
    const device = add("com1", base, 8);
    expect([1, 2, 4].map((size) => bus.read(base + 8, size as AccessSize))).toEqual([
      0xff, 0xffff, 0xffff_ffff,
    ]);
    bus.write(base + 8, 4, 1);
    expect(bus.unclaimed).toBe(4);
    expect(device.log).toEqual([]);
  },
);

test.each(BOTH)(
  "%s: an access that runs past a window's end is done in bytes, each where it belongs",
  (kind, base) => {
    const { bus, add } = space(kind);
    const first = add("first", base, 8);
    const second = add("second", base + 8, 1);
    expect(bus.read(base + 6, 4)).toBe(0xff00_0706);
    bus.write(base + 6, 4, 0x44332211);
    expect(first.log).toEqual(["read 6 1", "read 7 1", "write 6 1 0x11", "write 7 1 0x22"]);
    expect(second.log).toEqual(["read 0 1", "write 0 1 0x33"]);
    expect(bus.unclaimed).toBe(2);
  },
);

test.each(BOTH)(
  "%s: an access that starts before a window and runs into it is done in bytes too",
  (kind, base) => {
    const { bus, add } = space(kind);
    const device = add("post", base + 3, 1);
    expect(bus.read(base, 4)).toBe(0x00ff_ffff);
    bus.write(base + 2, 2, 0xabcd);
    expect(device.log).toEqual(["read 0 1", "write 0 1 0xab"]);
  },
);

test.each([
  ["ports", 0xffff],
  ["memory", 2 ** 52 - 1],
] as const)("%s: the last address works, and what lies behind it is empty", (kind, last) => {
  const { bus, add } = space(kind);
  const device = add("last", last, 1);
  expect(bus.read(last, 4)).toBe(0xffff_ff00);
  bus.write(last, 2, 0x1234);
  expect(device.log).toEqual(["read 0 1", "write 0 1 0x34"]);
  expect(bus.read(last + 1, 1)).toBe(0xff);
});

test.each(BOTH)("%s: every window is found among many, in any order of adding and asking", (kind) => {
  const { bus, add } = space(kind);
  const order = Array.from({ length: 100 }, (_, i) => (i * 37) % 100);
  for (const n of order) add(`d${n}`, 0x1000 + n * 0x10, 8);
  for (const n of [...order, ...order.reverse()]) {
    expect(bus.find(0x1000 + n * 0x10)?.name).toBe(`d${n}`);
    expect(bus.find(0x1007 + n * 0x10)?.name).toBe(`d${n}`);
    expect(bus.find(0x1008 + n * 0x10)).toBeUndefined();
  }
  expect(bus.find(0)).toBeUndefined();
  expect(bus.find(0xfff)).toBeUndefined();
});

test("one device can answer in two windows, at offsets of its own", () => {
  const { bus } = space("ports");
  const device = new Recorder();
  bus.add({ name: "data", address: 0x60, length: 1, device });
  bus.add({ name: "command", address: 0x64, length: 1, offset: 4, device });
  bus.read(0x60, 1);
  bus.read(0x64, 1);
  expect(device.log).toEqual(["read 0 1", "read 4 1"]);
});

test("each access is counted once for its device, or for nobody", () => {
  const { bus, counts, add } = space("ports");
  add("a", 0x10, 4);
  add("b", 0x20, 4);
  bus.read(0x10, 1);
  bus.write(0x12, 2, 0);
  bus.write(0x20, 4, 0);
  bus.read(0x30, 4);
  expect(bus.names).toEqual(["unclaimed", "a", "b"]);
  expect([...counts.subarray(0, 3)]).toEqual([1, 2, 1]);
});

test("who watches sees what nobody claims, in the guest's own width, and nothing else", () => {
  const { bus, add } = space("ports");
  add("a", 0x10, 4);
  const seen: unknown[] = [];
  bus.onUnclaimed = (...access) => seen.push(access);
  bus.read(0x10, 4);
  bus.read(0x20, 2);
  bus.write(0x20, 4, 0xdead_beef);
  bus.read(0x0f, 2);
  expect(seen).toEqual([
    ["read", 0x20, 2, 0xffff],
    ["write", 0x20, 4, 0xdead_beef],
    ["read", 0x0f, 1, 0xff],
  ]);
});

test("two devices at one address are refused, and both are named", () => {
  const { bus, add } = space("ports");
  add("com1", 0x3f8, 8);
  add("next to it", 0x400, 1);
  for (const [address, length] of [
    [0x3f8, 8],
    [0x3ff, 1],
    [0x3f0, 9],
    [0x3f0, 0x100],
    [0x3fa, 1],
  ]) {
    expect(() => add("thermometer", address, length)).toThrow(
      /^thermometer at 0x3f.* overlaps com1 at 0x3f8-0x3ff$/,
    );
  }
  expect(bus.names).toEqual(["unclaimed", "com1", "next to it"]);
});

test.each([
  [-1, 1],
  [0xffff, 2],
  [0x10000, 1],
  [0, 0],
  [0, -1],
  [0.5, 1],
  [Number.NaN, 1],
])("a window at %d of %d bytes is refused", (address, length) => {
  expect(() => space("ports").add("odd", address, length)).toThrow(/^odd: there is no range/);
});

test("a machine may have 255 windows, and says so when it gets one more", () => {
  const { bus, add } = space("ports");
  for (let n = 0; n < MAX_WINDOWS; n++) add(`d${n}`, n, 1);
  expect(bus.find(254)?.name).toBe("d254");
  expect(() => add("one more", 255, 1)).toThrow("one more: no room for more than 255 devices");
});

test("the windows are listed in the order of their addresses", () => {
  const { bus, add } = space("ports");
  add("com1", 0x3f8, 8);
  add("post code", 0x80, 1);
  expect(bus.windows.map(({ name, address, length }) => [name, address, length])).toEqual([
    ["post code", 0x80, 1],
    ["com1", 0x3f8, 8],
  ]);
});

test("what a write leaves to do is done after it", () => {
  const { bus } = space("memory");
  const log: string[] = [];
  const device = {
    read: () => 0,
    write: () => ({ settle: () => void log.push("settled") }),
    reset() {},
  };
  bus.add({ name: "blk", address: 0x1000, length: 0x100, device });
  bus.write(0x1070, 4, 0);
  expect(log).toEqual(["settled"]);
});
