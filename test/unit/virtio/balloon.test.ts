import { expect, test } from "vitest";
import { BALLOON_STATS, BalloonState, VirtioBalloon } from "../../../src/virtio/balloon.ts";
import * as mmio from "../../../src/virtio/transport/mmio-registers.ts";
import { random } from "../../support/random.ts";
import { blank, DriverQueue, Plugged, RAM, RAM_BYTES, TestMemory } from "../../support/virtio-driver.ts";

const PAGE = 4096;
/** RAM offset of the first page of RAM. */
const FIRST = 0x3000;
const DATA = RAM + 0x10000;
const STATS_VQ = 1 << 1;
const [INFLATE, DEFLATE, STATS, REPORTING] = [0, 1, 2, 3];

function rig(without = { low: 0, high: 0 }, queues = 4) {
  const memory = new TestMemory();
  const discarded: [page: number, pages: number][] = [];
  let reports = 0;
  const host = {
    memory,
    discard(offset: number, length: number) {
      memory.check(offset, length);
      discarded.push([(offset - FIRST) / PAGE, length / PAGE]);
    },
    reported: () => void reports++,
  };
  const regs = blank(BalloonState);
  const device = new VirtioBalloon({ deflateOnOom: true, freePageReporting: true }, regs, host);
  const plugged = new Plugged(device, memory);
  plugged.negotiate(without);
  const driver = Array.from({ length: queues }, (_, n) => new DriverQueue(memory, 16, RAM + n * 0x1000));
  for (const [index, queue] of driver.entries()) plugged.setQueue(index, queue);
  plugged.driverOk();
  const properties = device.properties(() => plugged.transport.configChanged());
  const get = (name: string) => properties[name].get();
  /** Sends page numbers, counted from the start of RAM. */
  const send = (index: number, pages: readonly number[]) => {
    for (const [n, page] of pages.entries()) memory.at(DATA + 4 * n).setUint32(0, RAM / PAGE + page, true);
    driver[index].add([{ address: DATA, length: 4 * pages.length }]);
    plugged.runner.serve(index);
  };
  const sendStats = (stats: readonly [tag: number, value: bigint][]) => {
    for (const [n, [tag, value]] of stats.entries()) {
      memory.at(DATA + 10 * n).setUint16(0, tag, true);
      memory.at(DATA + 10 * n + 2).setBigUint64(0, value, true);
    }
    driver[STATS].add([{ address: DATA, length: 10 * stats.length }]);
    plugged.runner.serve(STATS);
  };
  return {
    memory,
    plugged,
    driver,
    discarded,
    regs,
    properties,
    get,
    send,
    sendStats,
    reports: () => reports,
  };
}

test("pages that the guest sends are returned to the host, runs of them in one piece", () => {
  const { send, discarded, driver } = rig();
  send(INFLATE, [20, 21, 22, 40, 39, 38, 60]);
  expect(discarded).toEqual([
    [20, 3],
    [38, 3],
    [60, 1],
  ]);
  expect(driver[INFLATE].used()).toEqual([{ id: 0, length: 0 }]);
  send(DEFLATE, [20, 21]);
  expect(discarded.length).toBe(3);
  expect(driver[DEFLATE].used().length).toBe(1);
});

test("a page that is not RAM breaks the queue", () => {
  for (const page of [-1, RAM_BYTES / PAGE, 2 ** 32 - 1 - RAM / PAGE]) {
    const { send, plugged, discarded } = rig();
    send(INFLATE, [page]);
    expect(plugged.needsReset).toBe(true);
    expect(discarded).toEqual([]);
  }
});

test("memory that the driver reports as unused is returned to the host, in whole pages", () => {
  const { driver, plugged, discarded } = rig();
  driver[REPORTING].add([
    { address: RAM + 30 * PAGE, length: 4 * PAGE, writable: true },
    { address: RAM + 50 * PAGE + 100, length: 2 * PAGE, writable: true },
    { address: RAM + 60 * PAGE + 100, length: 200, writable: true },
  ]);
  plugged.runner.serve(REPORTING);
  expect(discarded).toEqual([
    [30, 4],
    [51, 1],
  ]);
  expect(driver[REPORTING].used()).toEqual([{ id: 0, length: 0 }]);
});

test("a queue that was not negotiated is not counted: Linux and QEMU number the others anew", () => {
  const { driver, plugged, discarded } = rig({ low: STATS_VQ, high: 0 }, 3);
  driver[2].add([{ address: RAM + 30 * PAGE, length: PAGE, writable: true }]);
  plugged.runner.serve(2);
  expect(discarded).toEqual([[30, 1]]);
  expect(driver[2].used().length).toBe(1);
});

test("the owner sets a target, which interrupts the driver, and reads what the driver has done", () => {
  const { plugged, properties, get } = rig();
  const before = plugged.interrupts;
  properties.target.set?.(7);
  expect(plugged.interrupts).toBe(before + 1);
  expect([plugged.read(mmio.CONFIG), plugged.read(mmio.CONFIG + 4)]).toEqual([7, 0]);
  plugged.write(mmio.CONFIG + 4, 5);
  plugged.write(mmio.CONFIG, 99); // the driver cannot set the target
  expect([get("target"), get("actual")]).toEqual([7, 5]);
  expect(plugged.read(mmio.CONFIG + 8)).toBe(0);
});

test("statistics are kept until they are asked for again, which returns their buffer", () => {
  const { driver, plugged, properties, get, sendStats, reports } = rig();
  sendStats([
    [4, 123_456n],
    [5, 2n ** 40n],
    [99, 1n],
  ]);
  expect([get("freeMemory"), get("totalMemory"), get("swapIn"), get("reports")]).toEqual([
    123_456,
    2 ** 40,
    -1,
    1,
  ]);
  expect(reports()).toBe(1);
  expect(driver[STATS].used()).toEqual([]);
  properties.wanted.set?.(1);
  plugged.runner.serve(STATS);
  expect(driver[STATS].used()).toEqual([{ id: 0, length: 0 }]);
  expect(get("wanted")).toBe(0);
  sendStats([[4, 99n]]);
  expect([get("freeMemory"), get("totalMemory"), get("reports")]).toEqual([99, -1, 2]);
  expect(driver[STATS].used()).toEqual([]);
});

test("statistics that were asked for before the driver sent any are asked for once it does", () => {
  const { driver, properties, sendStats, get } = rig();
  properties.wanted.set?.(1);
  sendStats([[4, 1n]]);
  expect(driver[STATS].used().length).toBe(1);
  expect(get("wanted")).toBe(0);
});

test("a driver that sends statistics without being asked gets its older buffer back", () => {
  const { driver, sendStats } = rig();
  sendStats([[0, 1n]]);
  sendStats([[0, 2n]]);
  expect(driver[STATS].used().map(({ id }) => id)).toEqual([0]);
});

test("a reset forgets the buffer and the statistics, but not what the owner wants", () => {
  const { plugged, sendStats, get, regs, properties } = rig();
  sendStats([[4, 1n]]);
  properties.target.set?.(3);
  plugged.write(mmio.STATUS, 0);
  expect(regs.heldHead).toBe(0);
  expect([get("target"), get("freeMemory"), get("hasStats")]).toEqual([3, -1, 0]);
});

test("whatever a driver sends in whichever queue, nothing outside RAM is touched and nothing is thrown", () => {
  const next = random(5);
  const below = (n: number) => Math.floor(next() * n);
  for (let round = 0; round < 400; round++) {
    const without = { low: next() < 0.3 ? STATS_VQ : 0, high: 0 };
    const { driver, plugged, memory } = rig(without, without.low === 0 ? 4 : 3);
    for (let i = 0; i < 0x1000; i += 4)
      memory.at(DATA + i).setUint32(0, next() < 0.5 ? below(2 ** 32) : RAM / PAGE + below(80), true);
    for (let request = 0; request < 8; request++) {
      const index = below(driver.length);
      const buffers = Array.from({ length: 1 + below(3) }, () => ({
        address: next() < 0.9 ? DATA + below(0x1000) : below(2 ** 32),
        length: below(next() < 0.5 ? 64 : 3 * PAGE),
        writable: next() < 0.5,
      }));
      driver[index].add(buffers);
      plugged.runner.serve(index);
    }
  }
});

test("every statistic has a property of its name", () => {
  const { properties } = rig();
  expect(Object.keys(properties)).toEqual(expect.arrayContaining([...BALLOON_STATS]));
});
