import { expect, test } from "vitest";
import { biosData } from "../../../src/boot/bios-data.ts";
import { madeBytes } from "../../support/boot-images.ts";

const RAM = [{ address: 0, size: 256 * 2 ** 20 }];

/** The word at an address from 0x400 on. */
function word(address: number, ram = RAM, comPorts: readonly number[] = [0x3f8]): number {
  return madeBytes(biosData(ram, comPorts), "BIOS data area").getUint16(address - 0x400, true);
}

// QEMU 7.2, -M pc: xp /40hx 0x400 with a Multiboot kernel that halts.
test("base memory is 639 KiB, and the extended BIOS data area the last KiB below 640, as SeaBIOS leaves it", () => {
  expect([word(0x413), word(0x40e)]).toEqual([639, 0x9fc0]);
  const [, extended] = biosData(RAM, []);
  expect([extended.address, extended.size]).toEqual([0x9fc00, 1024]);
  expect(madeBytes([extended], extended.what).getUint8(0)).toBe(1); // its size in KiB
});

test("each serial port has its address there, and the equipment word says how many there are", () => {
  const ports = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
  expect([0x400, 0x402, 0x404, 0x406].map((address) => word(address, RAM, ports))).toEqual(ports);
  expect(word(0x402)).toBe(0);
  expect([0, 1, 4].map((count) => (word(0x410, RAM, ports.slice(0, count)) >> 9) & 7)).toEqual([0, 1, 4]);
});

test("the equipment word promises a coprocessor, and neither a floppy drive nor a display", () => {
  expect(word(0x410) & 0x1ff).toBe(2);
});

test("RAM that ends below 640 KiB has no extended BIOS data area", () => {
  const small = [{ address: 0, size: 512 * 1024 }];
  expect([word(0x413, small), word(0x40e, small), biosData(small, []).length]).toEqual([512, 0, 1]);
});
