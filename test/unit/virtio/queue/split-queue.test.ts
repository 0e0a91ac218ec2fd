import { expect, test } from "vitest";
import { BrokenQueue, Chain } from "../../../../src/virtio/queue/chain.ts";
import {
  crossed,
  QueueConfigState,
  QueueCursorState,
  SplitQueue,
} from "../../../../src/virtio/queue/split-queue.ts";
import {
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  F_EVENT_IDX_LOW,
  F_INDIRECT_DESC_LOW,
} from "../../../../src/virtio/spec.ts";
import { HOSTILE } from "../../../support/hostile-rings.ts";
import { blank, DriverQueue, RAM, RAM_BYTES, TestMemory } from "../../../support/virtio-driver.ts";

const DATA = RAM + 0x8000;
const TABLE = RAM + 0x4000;

function rig({ size = 8, features = F_INDIRECT_DESC_LOW, startAt = 0, maxSize = 16 } = {}) {
  const memory = new TestMemory();
  const driver = new DriverQueue(memory, size);
  const config = blank(QueueConfigState);
  const cursor = blank(QueueCursorState);
  config.ready = 1;
  config.size = size;
  config.descLow = driver.desc;
  config.driverLow = driver.driver;
  config.deviceLow = driver.device;
  driver.startAt(startAt);
  memory.at(driver.device + 2).setUint16(0, startAt, true);
  cursor.nextAvail = startAt;
  cursor.nextUsed = startAt;
  cursor.signalledUsed = startAt;
  const queue = new SplitQueue(memory, config, cursor, maxSize, features);
  return { memory, driver, config, cursor, queue, chain: new Chain(memory, maxSize) };
}

/** Guest-physical address and length of each buffer. */
function buffers(memory: TestMemory, chain: Chain): [number, number][] {
  const base = memory.translate(RAM, 1);
  const pairs: [number, number][] = [];
  for (let i = chain.first; i < chain.end; i++) {
    pairs.push([chain.iov[2 * i] - base + RAM, chain.iov[2 * i + 1]]);
  }
  return pairs;
}

test("an empty ring gives no request", () => {
  const { queue, chain } = rig();
  expect(queue.pop(chain)).toBe(false);
});

test("a chain's buffers arrive in order, readable before writable", () => {
  const { memory, driver, queue, chain } = rig();
  const head = driver.add([
    { address: DATA, length: 16 },
    { address: DATA + 0x100, length: 512, writable: true },
    { address: DATA + 0x400, length: 1, writable: true },
  ]);
  expect(queue.pop(chain)).toBe(true);
  expect(chain.head).toBe(head);
  expect(buffers(memory, chain)).toEqual([
    [DATA, 16],
    [DATA + 0x100, 512],
    [DATA + 0x400, 1],
  ]);
  expect([chain.firstWritable, chain.readableBytes, chain.writableBytes]).toEqual([1, 16, 513]);
  expect(queue.pop(chain)).toBe(false);
});

test("an indirect table reads like the same chain in the ring", () => {
  const { memory, driver, queue, chain } = rig();
  driver.add(
    [
      { address: DATA, length: 16 },
      { address: DATA + 16, length: 1, writable: true },
    ],
    TABLE,
  );
  queue.pop(chain);
  expect(buffers(memory, chain)).toEqual([
    [DATA, 16],
    [DATA + 16, 1],
  ]);
});

test("an indirect table may follow ordinary descriptors, at any address, and its own write flag means nothing", () => {
  const { memory, driver, queue, chain } = rig();
  const table = TABLE + 1;
  driver.describe(0, { address: DATA, length: 8, flags: DESC_F_NEXT, next: 5 });
  driver.describe(5, { address: table, length: 16, flags: DESC_F_INDIRECT | DESC_F_WRITE });
  driver.describe(0, { address: DATA + 8, length: 8 }, table);
  driver.offer(0);
  queue.pop(chain);
  expect(buffers(memory, chain)).toEqual([
    [DATA, 8],
    [DATA + 8, 8],
  ]);
  expect(chain.readableBytes).toBe(16);
});

test("an indirect table may be longer than a queue that the driver made small", () => {
  const { driver, queue, chain } = rig({ size: 2, maxSize: 16 });
  driver.add(
    Array.from({ length: 16 }, (_, i) => ({ address: DATA + 64 * i, length: 64 })),
    TABLE,
  );
  expect(queue.pop(chain)).toBe(true);
  expect(chain.end).toBe(16);
});

test("what is used is visible to the driver at once, with its head and length", () => {
  const { driver, queue } = rig();
  queue.push(3, 513);
  expect(driver.used()).toEqual([{ id: 3, length: 513 }]);
  queue.push(1, 0);
  expect(driver.used()).toEqual([{ id: 1, length: 0 }]);
});

test("the rings go on when their indices wrap at 65536", () => {
  const { driver, queue, chain } = rig({ startAt: 65534 });
  for (let round = 0; round < 20; round++) {
    const head = driver.add([{ address: DATA + round, length: 1 }]);
    expect(queue.pop(chain)).toBe(true);
    expect(chain.head).toBe(head);
    queue.push(chain.head, round);
    expect(queue.wantsInterrupt()).toBe(true);
    expect(driver.used()).toEqual([{ id: head, length: round }]);
  }
  expect(driver.availIndex).toBe(18);
});

test("a queue opened again over the same cursor goes on where the other stopped", () => {
  const { memory, driver, config, cursor, queue, chain } = rig();
  const first = driver.add([{ address: DATA, length: 1 }]);
  const second = driver.add([{ address: DATA + 1, length: 1 }]);
  queue.pop(chain);
  queue.push(first, 0);
  const again = new SplitQueue(memory, config, cursor, 16, 0);
  expect(again.pop(chain)).toBe(true);
  expect(chain.head).toBe(second);
  again.push(second, 0);
  expect(driver.used().map((element) => element.id)).toEqual([first, second]);
});

test("by flags: one interrupt for a batch, none if the driver does not want any", () => {
  const { driver, queue } = rig();
  queue.push(0, 0);
  queue.push(1, 0);
  expect(queue.wantsInterrupt()).toBe(true);
  expect(queue.wantsInterrupt()).toBe(false); // nothing new
  driver.noInterrupt = true;
  queue.push(2, 0);
  expect(queue.wantsInterrupt()).toBe(false);
});

test("by flags: notifications are off while the device polls", () => {
  const { driver, queue } = rig();
  queue.disableNotifications();
  expect(driver.noNotify).toBe(true);
  expect(queue.enableNotifications()).toBe(false);
  expect(driver.noNotify).toBe(false);
});

test("by event index: an interrupt when, and only when, the driver's event is passed", () => {
  const { driver, queue } = rig({ features: F_EVENT_IDX_LOW });
  driver.usedEvent = 2; // wants to hear of the third
  queue.push(0, 0);
  queue.push(1, 0);
  expect(queue.wantsInterrupt()).toBe(false);
  queue.push(2, 0);
  expect(queue.wantsInterrupt()).toBe(true);
  queue.push(3, 0);
  expect(queue.wantsInterrupt()).toBe(false);
});

test("by event index: the used flags stay zero and the ring says where to ring next", () => {
  const { driver, queue, chain } = rig({ features: F_EVENT_IDX_LOW });
  queue.disableNotifications();
  expect(driver.noNotify).toBe(false);
  driver.add([{ address: DATA, length: 1 }]);
  queue.pop(chain);
  expect(queue.enableNotifications()).toBe(false);
  expect(driver.availEvent).toBe(1);
});

test("a request offered while the doorbell was silent is noticed when it is armed", () => {
  for (const features of [0, F_EVENT_IDX_LOW]) {
    const { driver, queue, chain } = rig({ features });
    queue.disableNotifications();
    expect(queue.pop(chain)).toBe(false);
    driver.add([{ address: DATA, length: 1 }]);
    expect(queue.enableNotifications()).toBe(true);
  }
});

test("event arithmetic holds across the wrap, for every distance", () => {
  for (const before of [0, 1, 32767, 32768, 65530, 65535]) {
    for (let moved = 1; moved <= 40; moved++) {
      const now = (before + moved) & 0xffff;
      for (let ahead = -3; ahead < 45; ahead++) {
        const event = (before + ahead) & 0xffff;
        expect(crossed(event, before, now)).toBe(ahead >= 0 && ahead < moved);
      }
    }
  }
});

test("the descriptors of a whole queue make one chain; one more is a loop", () => {
  const { driver, queue, chain } = rig({ size: 8 });
  driver.add(Array.from({ length: 8 }, (_, i) => ({ address: DATA + i, length: 1 })));
  expect(queue.pop(chain)).toBe(true);
  expect(chain.end).toBe(8);
});

test.each(HOSTILE)("a driver that writes %s is caught", (_, complaint, write) => {
  const { driver, queue, chain } = rig({ startAt: 5 });
  write(driver);
  expect(() => queue.pop(chain)).toThrow(BrokenQueue);
  expect(() => queue.pop(chain)).toThrow(complaint);
});

test("an indirect descriptor that was not negotiated is refused", () => {
  const { driver, queue, chain } = rig({ features: 0 });
  driver.add([{ address: DATA, length: 1 }], TABLE);
  expect(() => queue.pop(chain)).toThrow(/not negotiated/);
});

test("a chain of more than 4 GiB is refused although every buffer of it is RAM", () => {
  const memory = new TestMemory();
  const chain = new Chain(memory, 20000);
  chain.start(0);
  const all = 2 ** 32 / RAM_BYTES;
  for (let i = 0; i < all; i++) chain.add(RAM, RAM_BYTES, false);
  expect(() => chain.add(RAM, 1, false)).toThrow(/longer than 4 GiB/);
});

test("a driver that offers one descriptor again and again cannot have more in flight than fit the queue", () => {
  const { driver, queue, chain } = rig({ size: 4 });
  driver.describe(0, { address: DATA, length: 1 });
  for (let i = 0; i < 4; i++) {
    driver.offer(0);
    expect(queue.pop(chain)).toBe(true);
  }
  driver.offer(0);
  expect(() => queue.pop(chain)).toThrow(/in flight/);
});

test.each([
  ["no descriptors", { size: 0 }, /a queue of 0/],
  ["a size that is not a power of two", { size: 12 }, /a queue of 12/],
  ["more descriptors than offered", { size: 32 }, /a queue of 32/],
  ["a size of 4 billion", { size: 0x8000_0000 }, /a queue of 2147483648/],
  ["a misaligned table", { descLow: RAM + 8 }, /descriptor table .* not aligned to 16/],
  ["a misaligned available ring", { driverLow: RAM + 0x801 }, /available ring .* not aligned to 2/],
  ["a misaligned used ring", { deviceLow: RAM + 0x802 }, /used ring .* not aligned to 4/],
  ["a table outside RAM", { descLow: RAM + RAM_BYTES - 16 }, /descriptor table .* not all RAM/],
  ["an available ring outside RAM", { driverLow: RAM + RAM_BYTES - 4 }, /available ring .* not all RAM/],
  ["a used ring outside RAM", { deviceLow: 0 }, /used ring .* not all RAM/],
  ["a table above 4 GiB", { descHigh: 1 }, /0x100100000 is not all RAM/],
  ["a used ring at the end of the address space", { deviceHigh: 0xffff_ffff }, /not all RAM/],
])("a queue with %s is not opened", (_, change, complaint) => {
  const { memory, config, cursor } = rig();
  Object.assign(config, change);
  expect(() => new SplitQueue(memory, config, cursor, 16, 0)).toThrow(BrokenQueue);
  expect(() => new SplitQueue(memory, config, cursor, 16, 0)).toThrow(complaint);
});

test("a header comes whole however the driver cut it up", () => {
  const { memory, driver, queue, chain } = rig({ size: 16 });
  for (let i = 0; i < 20; i++) memory.at(DATA + i).setUint8(0, i);
  for (const cuts of [[16], [20], [1, 15], [8, 8], [3, 4, 13], Array(16).fill(1)]) {
    let end = DATA;
    const pieces = cuts.map((length) => {
      end += length;
      return { address: end - length, length };
    });
    driver.add(pieces);
    queue.pop(chain);
    const before = chain.readableBytes;
    const header = new Uint8Array(16);
    chain.takeReadable(header, "a header");
    expect([...header]).toEqual([...Array(16).keys()]);
    expect(chain.readableBytes).toBe(before - 16);
    const left = buffers(memory, chain).slice(0, chain.firstWritable - chain.first);
    expect(left).toEqual(before === 16 ? [] : [[DATA + 16, before - 16]]);
  }
});

test("the last writable byte is the status, alone or at the end of the data", () => {
  const { memory, driver, queue, chain } = rig();
  driver.add([{ address: DATA, length: 513, writable: true }]);
  queue.pop(chain);
  expect(chain.takeLastWritable("a status")).toBe(memory.translate(DATA + 512, 1));
  expect(buffers(memory, chain)).toEqual([[DATA, 512]]);
  driver.add([
    { address: DATA, length: 512, writable: true },
    { address: DATA + 0x300, length: 1, writable: true },
  ]);
  queue.pop(chain);
  expect(chain.takeLastWritable("a status")).toBe(memory.translate(DATA + 0x300, 1));
  expect(buffers(memory, chain)).toEqual([[DATA, 512]]);
});
