/** Configuration spaces: masks, BARs, capabilities, and any access. Source of expectations: PCI Local Bus 3.0, chapter 6. */
import { expect, test } from "vitest";
import { ConfigSpace, type FunctionSpec, PciConfigState } from "../../../src/pci/config-space.ts";
import { devicePromises } from "../../support/device-promises.ts";

const COMMAND = 4;
const BAR0 = 0x10;
const IO_AND_MEMORY = 3;

const moved = { settle() {} };

function spec(): FunctionSpec {
  return {
    vendor: 0x1af4,
    device: 0x1042,
    classCode: 0x010203,
    revision: 7,
    interruptPin: 1,
    bars: [
      { space: "ports", size: 0x40 },
      { space: "memory", size: 0x1000 },
      undefined,
      undefined,
      { space: "memory", size: 0x4000, wide: true, prefetchable: true },
    ],
    registers: [{ at: 0x90, bytes: [0x12, 0xff], writable: [0xf0], clearable: [0, 0x0f] }],
  };
}

function space(more: Partial<FunctionSpec> = {}) {
  const regs = PciConfigState.view(new SharedArrayBuffer(PciConfigState.size), 0);
  const config = new ConfigSpace(regs, { ...spec(), ...more }, { moved, connectIntx() {} });
  config.reset();
  return config;
}

devicePromises({
  name: "pci config space",
  layout: PciConfigState,
  length: 256 - 3,
  build: (regs, world) =>
    new ConfigSpace(regs, spec(), { moved, connectIntx: (on) => world.irq.set(false && on) }),
});

test("the header says what the function is, and a write does not change it", () => {
  const config = space();
  config.write(0, 4, 0xffff_ffff);
  config.write(8, 4, 0xffff_ffff);
  expect(config.read(0, 4)).toBe(0x1042_1af4);
  expect(config.read(8, 4)).toBe(0x0102_0307);
  expect(config.read(0x2c, 4)).toBe(0x1100_1af4);
  expect(config.read(0x3d, 1)).toBe(1);
});

test("all ones in a BAR give its size, and it is decoded nowhere meanwhile", () => {
  const config = space();
  config.write(COMMAND, 2, IO_AND_MEMORY);
  const sizeOf = (bar: number) => {
    config.write(BAR0 + 4 * bar, 4, 0xffff_ffff);
    expect(config.bar(bar).length).toBe(0);
    return config.read(BAR0 + 4 * bar, 4);
  };
  expect(sizeOf(0)).toBe(0xffff_ffc1);
  expect(sizeOf(1)).toBe(0xffff_f000);
  expect(sizeOf(4)).toBe(0xffff_c00c);
  expect(sizeOf(5)).toBe(0xffff_ffff);
  expect(config.read(BAR0 + 8, 4)).toBe(0);
});

test("a BAR is decoded at its address while Command allows it, and a change says so", () => {
  const config = space();
  expect(config.write(BAR0 + 4, 4, 0xfebf_1000)).toBe(moved);
  expect(config.bar(1).length).toBe(0);
  expect(config.write(COMMAND, 2, IO_AND_MEMORY)).toBe(moved);
  expect(config.bar(1)).toEqual({ address: 0xfebf_1000, length: 0x1000 });
  expect(config.write(BAR0 + 4, 4, 0xfebf_1000)).toBeUndefined();
  config.write(BAR0 + 16, 4, 0x8000_0000);
  config.write(BAR0 + 20, 4, 0x38);
  expect(config.bar(4)).toEqual({ address: 0x38_8000_0000, length: 0x4000 });
  config.write(BAR0, 4, 0xc041);
  expect(config.bar(0)).toEqual({ address: 0xc040, length: 0x40 });
});

test("registers have bits that are written, bits that a one clears, and bits that stay", () => {
  const config = space();
  config.write(0x90, 2, 0x05a5);
  expect(config.read(0x90, 2)).toBe(0xfaa2);
});

test("capabilities are linked, and answer all but their id and link", () => {
  const written: number[][] = [];
  const capability = (id: number, at: number) => ({
    id,
    at,
    length: 8,
    read: (offset: number) => 0x4433_2211 + offset,
    write: (...access: [number, number, number]) => void written.push([id, ...access]),
  });
  const config = space({ capabilities: [capability(0x11, 0x98), capability(9, 0x40)] });
  expect(config.read(6, 2) & 0x10).toBe(0x10);
  expect(config.read(0x34, 1)).toBe(0x98);
  expect(config.read(0x98, 4)).toBe(0x4433_4011);
  expect(config.read(0x99, 1)).toBe(0x40);
  expect(config.read(0x41, 1)).toBe(0);
  expect(config.read(0x44, 4)).toBe(0x4433_2215);
  config.write(0x9a, 2, 0x8000);
  expect(written).toEqual([[0x11, 2, 2, 0x8000]]);
});
