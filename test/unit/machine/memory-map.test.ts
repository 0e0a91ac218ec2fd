import { expect, test } from "vitest";
import * as map from "../../../src/machine/memory-map.ts";

const GIB = 2 ** 30;

test.each([
  ["16 MiB", 2 ** 24, [{ address: 0, size: 2 ** 24, offset: 0 }]],
  ["3 GiB, up to the hole", 3 * GIB, [{ address: 0, size: 3 * GIB, offset: 0 }]],
  [
    "a page more than fits under the hole",
    3 * GIB + 4096,
    [
      { address: 0, size: 3 * GIB, offset: 0 },
      { address: 4 * GIB, size: 4096, offset: 3 * GIB },
    ],
  ],
  [
    "5 GiB",
    5 * GIB,
    [
      { address: 0, size: 3 * GIB, offset: 0 },
      { address: 4 * GIB, size: 2 * GIB, offset: 3 * GIB },
    ],
  ],
])("%s of RAM leave the hole under 4 GiB alone, and nothing out", (_what, size, regions) => {
  expect(map.ramRegions(size)).toEqual(regions);
});

test("everything that is in memory and not RAM has a place of its own in the hole", () => {
  const last = map.VIRTIO_IRQS.length * map.VIRTIO_MMIO_STRIDE;
  const ranges = [
    [map.HOLE, map.HOLE],
    [map.VIRTIO_MMIO, map.VIRTIO_MMIO + last],
    [map.IOAPIC, map.IOAPIC + 0x1000],
    [map.LOCAL_APIC, map.LOCAL_APIC + 0x1000],
    [map.IDENTITY_MAP, map.IDENTITY_MAP + 0x1000],
    [map.TSS, map.TSS + 0x3000],
    [map.HIGH_RAM, map.HIGH_RAM],
  ];
  for (let i = 1; i < ranges.length; i++) expect(ranges[i][0]).toBeGreaterThanOrEqual(ranges[i - 1][1]);
});

test("no two devices share an interrupt", () => {
  const irqs = [
    ...map.SERIAL.map(({ irq }) => irq),
    map.I8042_IRQ,
    map.SCI_IRQ,
    ...map.VIRTIO_IRQS,
    0, // the PIT
    2, // the second PIC
    8, // the RTC
  ];
  expect(new Set(irqs).size).toBe(irqs.length);
  for (const irq of irqs) expect(irq).toBeLessThan(24); // inputs of KVM's I/O APIC
});
