/** Which cards firmware has a ROM for, so that it boots from them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { VmOptions } from "../../../src/config/machine.ts";
import { networkRoms } from "../../../src/vm/network-roms.ts";
import { checkOptions } from "../../../src/vm/validate.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-roms-"));
afterAll(() => rmSync(folder, { recursive: true }));
for (const name of ["pxe-e1000.rom", "pxe-virtio.rom"]) writeFileSync(join(folder, name), name);

const e1000 = { model: "e1000", user: {} } as const;
const roms = (options: VmOptions) => {
  const found = networkRoms(checkOptions({ machine: "pc", firmwareFolder: folder, ...options }));
  return [...found].map(([name, bytes]) => `${name}: ${Buffer.from(bytes).toString()}`);
};

test("only a card that firmware is to boot from has a ROM", () => {
  const network = [e1000, { user: {} }, { disableLegacy: true, user: {} }];
  expect(roms({ network })).toEqual([]);
  expect(roms({ network, bootOrder: "n" })).toEqual([
    "pci8086,100e.rom: pxe-e1000.rom",
    "pci1af4,1000.rom: pxe-virtio.rom",
    "pci1af4,1041.rom: pxe-virtio.rom",
  ]);
  expect(roms({ network, bootOnce: "nc" }).length).toBe(3);
  expect(roms({ network: [e1000, { bootindex: 0, user: {} }] })).toEqual([
    "pci1af4,1000.rom: pxe-virtio.rom",
  ]);
  expect(roms({ network: [{ ...e1000, bootindex: -1 }] })).toEqual([]);
});

test("a ROM that is missing is named, with the package that has it", () => {
  const without = (options: VmOptions) =>
    networkRoms(checkOptions({ machine: "pc", network: [e1000], ...options }), [join(folder, "none")]);
  const sentence = /install the package ipxe-qemu .*pxe-e1000\.rom is searched in .*none/;
  expect(() => without({ bootOrder: "nc" })).toThrow(sentence);
  expect(() => without({ bootOnce: "n" })).toThrow(sentence);
  expect(() => without({ network: [{ ...e1000, bootindex: 3 }] })).toThrow(sentence);
  // Old lines have a network as their last resort, on hosts that have no iPXE.
  expect(without({ bootOrder: "cdn" }).size).toBe(0);
});
