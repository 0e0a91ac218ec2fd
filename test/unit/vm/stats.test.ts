import { expect, test } from "vitest";
import { AddressSpace } from "../../../src/bus/address-space.ts";
import { DISK_BYTES_READ, DISK_ERRORS, DISK_FIELDS, DISK_REQUESTS } from "../../../src/disk/disk-counters.ts";
import { blocks, blocksBytes } from "../../../src/threads/blocks.ts";
import { addStats, countStats, vmStats } from "../../../src/vm/stats.ts";

const IO = 2; // KVM_EXIT_IO
const MMIO = 6;
const UNKNOWN_TO_US = 63;
const DRIVES = ["virtio-blk0", "virtio-blk1"];
const device = { read: () => 0, write() {}, reset() {} };

/** Two vCPUs, two drives; each vCPU has its own buses, alike. */
function machine() {
  const shared = blocks(new SharedArrayBuffer(blocksBytes(2)), 2);
  const drives = DRIVES.map((name) => shared.parts.addCounters(name, DISK_FIELDS));
  const buses = shared.counters.map((counters) => {
    const ports = new AddressSpace("ports", counters.ports);
    const memory = new AddressSpace("memory", counters.memory);
    ports.add({ name: "i8042", address: 0x60, length: 1, device });
    ports.add({ name: "i8042", address: 0x64, length: 1, device, offset: 4 });
    memory.add({ name: "virtio-blk0", address: 0xfeb0_0000, length: 0x1000, device });
    return { ports, memory };
  });
  return { shared, drives, buses, stats: () => countStats(shared, buses[0].ports, buses[0].memory) };
}

test("a machine that has not run has done nothing", () => {
  const drive = { requests: 0, bytesRead: 0, bytesWritten: 0, flushes: 0, errors: 0 };
  expect(vmStats(machine().stats(), DRIVES, [], [])).toEqual({
    exits: {},
    totalExits: 0,
    interrupted: 0,
    devices: {},
    drives: [drive, drive],
    networks: [],
    serials: [],
  });
});

test("KVM's counters are added up over a reset, each vCPU's for itself", () => {
  const { stats } = machine();
  const kernel = (exits: number) => ({
    ...stats(),
    kernel: { vm: { flushes: 1 }, vcpus: [{ exits }, { exits: 1 }] },
  });
  expect(addStats(kernel(5), kernel(7)).kernel).toEqual({
    vm: { flushes: 2 },
    vcpus: [{ exits: 12 }, { exits: 2 }],
  });
  expect(addStats(stats(), stats()).kernel).toBeUndefined();
});

test("exits are named by their reason and added up over the vCPUs", () => {
  const { shared, stats } = machine();
  shared.counters[0].exits[IO] = 3;
  shared.counters[1].exits[IO] = 4;
  shared.counters[1].exits[MMIO] = 5;
  shared.counters[0].exits[UNKNOWN_TO_US] = 1;
  shared.counters[0].interrupted[0] = 6;
  shared.counters[1].interrupted[0] = 1;
  const { exits, totalExits, interrupted } = stats();
  expect(exits).toEqual({ IO: 7, MMIO: 5, [UNKNOWN_TO_US]: 1 });
  expect(totalExits).toBe(13);
  expect(interrupted).toBe(7);
});

test("accesses are counted by device, whatever vCPU made them and at whichever of its places", () => {
  const { buses, stats } = machine();
  buses[0].ports.read(0x60, 1);
  buses[1].ports.write(0x64, 1, 0);
  buses[1].memory.read(0xfeb0_0000, 4);
  buses[0].ports.read(0x80, 1);
  buses[1].memory.read(0xd000_0000, 4);
  expect(stats().devices).toEqual({ i8042: 2, "virtio-blk0": 1, unclaimed: 2 });
});

test("drives have their own numbers", () => {
  const { drives, stats } = machine();
  drives[0][DISK_REQUESTS] = 1;
  drives[1][DISK_BYTES_READ] = 2 ** 40;
  drives[1][DISK_ERRORS] = 2;
  const zero = { requests: 0, bytesRead: 0, bytesWritten: 0, flushes: 0, errors: 0 };
  expect(vmStats(stats(), DRIVES, [], []).drives).toEqual([
    { ...zero, requests: 1 },
    { ...zero, bytesRead: 2 ** 40, errors: 2 },
  ]);
});

test("a reset does not start the counting anew", () => {
  const [before, after] = [machine(), machine()];
  before.shared.counters[0].exits[IO] = 3;
  before.shared.counters[0].interrupted[0] = 1;
  before.drives[0].fill(10);
  before.buses[0].ports.read(0x60, 1);
  after.shared.counters[1].exits[IO] = 4;
  after.shared.counters[1].exits[MMIO] = 1;
  after.drives[0].fill(1);
  after.buses[0].ports.read(0x60, 1);
  after.buses[0].ports.read(0x61, 1);
  const zero = { requests: 0, bytesRead: 0, bytesWritten: 0, flushes: 0, errors: 0 };
  expect(vmStats(addStats(before.stats(), after.stats()), DRIVES, [], [])).toEqual({
    exits: { IO: 7, MMIO: 1 },
    totalExits: 8,
    interrupted: 1,
    devices: { i8042: 2, unclaimed: 1 },
    drives: [{ requests: 11, bytesRead: 11, bytesWritten: 11, flushes: 11, errors: 11 }, zero],
    networks: [],
    serials: [],
  });
});
