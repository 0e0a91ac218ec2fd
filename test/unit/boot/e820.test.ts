import { expect, test } from "vitest";
import { e820Entries, pcMemoryMap } from "../../../src/boot/e820.ts";
import type { MemoryRange } from "../../../src/boot/plan.ts";

test("RAM ends at the extended BIOS data area, 1 KiB below video memory, and goes on at 1 MiB", () => {
  expect(pcMemoryMap([{ address: 0, size: 16 * 2 ** 20 }])).toEqual([
    { address: 0, size: 0x9fc00, type: "ram" },
    { address: 0x9fc00, size: 0x60400, type: "reserved" },
    { address: 0x100000, size: 15 * 2 ** 20, type: "ram" },
  ]);
});

test("RAM of 1 MiB and less has nothing above the ROMs", () => {
  expect(pcMemoryMap([{ address: 0, size: 0x100000 }])).toHaveLength(2);
  expect(pcMemoryMap([{ address: 0, size: 0x10000 }])[0]).toEqual({ address: 0, size: 0x10000, type: "ram" });
});

test("entries are in address order with the types that ACPI gives them", () => {
  const map: MemoryRange[] = [
    { address: 0x3000, size: 0x1000, type: "acpi" },
    { address: 0x2000, size: 0x1000, type: "reserved" },
    { address: 0, size: 0x2000, type: "ram" },
    { address: 0x9000, size: 0, type: "ram" },
  ];
  expect(e820Entries(map).map(({ address, type }) => [address, type])).toEqual([
    [0, 1],
    [0x2000, 2],
    [0x3000, 3],
  ]);
});

test("a map that overlaps itself or is too long for a guest is refused", () => {
  expect(() =>
    e820Entries([
      { address: 0, size: 0x2000, type: "ram" },
      { address: 0x1000, size: 0x1000, type: "reserved" },
    ]),
  ).toThrow("the range at 0x1000 overlaps the one at 0x0");
  const many = Array.from({ length: 129 }, (_, i): MemoryRange => ({ address: i * 2, size: 1, type: "ram" }));
  expect(() => e820Entries(many)).toThrow("at most 128");
  expect(e820Entries(many.slice(1))).toHaveLength(128);
});
