import { expect, test } from "vitest";
import { memoryTree } from "../../../src/vm/memory-tree.ts";

const GIB = 2 ** 30;
const low = { slot: 0, flags: 0, guestPhysAddr: 0, memorySize: 3 * GIB, userspaceAddr: 0x7f00_0000_0000 };
const high = {
  ...{ slot: 1, flags: 0, guestPhysAddr: 4 * GIB, memorySize: 2 * GIB },
  userspaceAddr: 0x7f00_c000_0000,
};

test("5 GiB of RAM, two virtio devices and one of the program's own, as text", () => {
  const registers = { slot: 2, flags: 2, guestPhysAddr: 0xfeb0_0000, memorySize: 0x2000 };
  const { text } = memoryTree(
    [low, high, { ...registers, userspaceAddr: 0x7f10_0000_0000 }],
    [
      { name: "virtio-blk0", address: 0xfeb0_0000, length: 0x1000 },
      { name: "virtio-rng", address: 0xfeb0_1000, length: 0x1000 },
      { name: "counter", address: 6 * GIB, length: 16 },
    ],
  );
  expect(text).toBe(`0000000000000000-000fffffffffffff memory
  0000000000000000-00000000bfffffff ram slot 0 at host 0x7f0000000000
  00000000c0000000-00000000ffffffff hole
    00000000feb00000-00000000feb01fff rom slot 2 at host 0x7f1000000000
      00000000feb00000-00000000feb00fff virtio-blk0 (device)
      00000000feb01000-00000000feb01fff virtio-rng (device)
    00000000fec00000-00000000fec000ff ioapic (kvm)
    00000000fee00000-00000000fee00fff local-apic (kvm)
    00000000feffc000-00000000feffcfff identity-map (kvm)
    00000000feffd000-00000000feffffff tss (kvm)
  0000000100000000-000000017fffffff ram slot 1 at host 0x7f00c0000000
  0000000180000000-000000018000000f counter (device)
`);
});

test("each RAM leaf has its slot, its place in the guest, its size and its place in the host", () => {
  const { root } = memoryTree([low, high], []);
  expect(root.children.filter(({ kind }) => kind === "ram")).toEqual([
    {
      ...{ name: "ram", kind: "ram", slot: 0, address: 0, size: 3 * GIB },
      ...{ hostAddress: 0x7f00_0000_0000, children: [] },
    },
    {
      ...{ name: "ram", kind: "ram", slot: 1, address: 4 * GIB, size: 2 * GIB },
      ...{ hostAddress: 0x7f00_c000_0000, children: [] },
    },
  ]);
});

test("without read-only memory, devices lie in the hole by themselves", () => {
  const { root } = memoryTree([low], [{ name: "virtio-rng", address: 0xfeb0_0000, length: 0x1000 }]);
  const hole = root.children.find(({ name }) => name === "hole");
  expect(hole?.children[0]).toMatchObject({ name: "virtio-rng", kind: "device", children: [] });
});

test("a read-only slot is ROM", () => {
  const { root, text } = memoryTree([{ ...low, flags: 2, memorySize: 4096 }], []);
  expect(root.children[0].kind).toBe("rom");
  expect(text).toContain("0000000000000000-0000000000000fff rom slot 0");
});
