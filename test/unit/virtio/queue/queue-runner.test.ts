import { describe, expect, test } from "vitest";
import { AGAIN, NEVER } from "../../../../src/bus/io-task.ts";
import type { DeviceQueue, VirtioDevice } from "../../../../src/virtio/device.ts";
import { BrokenQueue, Chain } from "../../../../src/virtio/queue/chain.ts";
import * as spec from "../../../../src/virtio/spec.ts";
import * as mmio from "../../../../src/virtio/transport/mmio-registers.ts";
import { HOSTILE } from "../../../support/hostile-rings.ts";
import { isHeld } from "../../../support/locks.ts";
import { DriverQueue, Plugged, RAM, TestMemory } from "../../../support/virtio-driver.ts";

const DATA = RAM + 0x8000;
const ONE_BYTE = [{ address: DATA, length: 1 }];

/** What `onServe` returns for a request that is answered later. */
const PENDING = -1;

/** Answers each request with the bytes that it could read; `onServe` looks in. */
class Echo implements VirtioDevice {
  readonly deviceId = 42;
  readonly featuresLow = 0;
  readonly featuresHigh = 0;
  readonly queueSizes: readonly number[];
  readonly log: string[] = [];
  poll: NonNullable<VirtioDevice["poll"]> = () => {};
  onServe = (_queue: number, chain: Chain): number => chain.readableBytes;

  readonly #chain: Chain;
  /** What `run` returns. */
  result = NEVER;

  constructor(memory: TestMemory, queueSize = 16) {
    this.queueSizes = [queueSize, 16];
    this.#chain = new Chain(memory, queueSize);
  }

  readonly configSize = 0;
  readConfig = () => 0;
  writeConfig() {}
  negotiate = () => true;
  reset() {}
  activate(): void {
    this.log.push("activate");
  }
  deactivate(): void {
    this.log.push("deactivate");
  }
  run(queue: DeviceQueue, index: number): number {
    while (queue.pop(this.#chain)) {
      const written = this.onServe(index, this.#chain);
      if (written !== PENDING) queue.push(this.#chain.head, written);
    }
    return this.result;
  }
}

const NO_EVENT_IDX = { low: spec.F_EVENT_IDX_LOW, high: 0 };

function rig(queueSize?: number) {
  const memory = new TestMemory();
  const device = new Echo(memory, queueSize);
  const plugged = new Plugged(device, memory);
  const bringUp = plugged.bringUp.bind(plugged);
  return { device, memory, plugged, bringUp };
}

test("a doorbell before DRIVER_OK is ignored", () => {
  const { plugged, memory, device } = rig();
  const queue = new DriverQueue(memory, 8);
  plugged.negotiate();
  plugged.setQueue(0, queue);
  queue.add(ONE_BYTE);
  expect(plugged.runner.serve(0)).toBe(NEVER);
  expect(queue.used()).toEqual([]);
  expect(device.log).toEqual([]);
});

test("a doorbell for a queue that was not set up is ignored", () => {
  const { plugged, bringUp } = rig();
  bringUp(8);
  expect(plugged.runner.serve(1)).toBe(NEVER);
  expect(plugged.needsReset).toBe(false);
});

test("the device is activated once, when the driver is ready", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8);
  for (let i = 0; i < 3; i++) {
    queue.add(ONE_BYTE);
    plugged.runner.serve(0);
  }
  expect(device.log).toEqual(["activate"]);
});

test("of a batch the driver hears after the first request, each 16th after it and the last", () => {
  const { plugged, bringUp, device } = rig(64);
  const queue = bringUp(64, NO_EVENT_IDX);
  const heard: number[] = [];
  let served = 0;
  device.onServe = () => {
    heard[served++] = plugged.interrupts;
    return 0;
  };
  for (let i = 0; i < 40; i++) queue.add(ONE_BYTE);
  expect(plugged.runner.serve(0)).toBe(NEVER);
  expect(plugged.runner.served).toBe(40);
  expect(queue.used().length).toBe(40);
  expect(heard.map((count, i) => [i, count]).filter(([i, count]) => count !== heard[i - 1])).toEqual([
    [0, 0],
    [1, 1],
    [17, 2],
    [33, 3],
  ]);
  expect(plugged.interrupts).toBe(4);
  expect(plugged.read(mmio.INTERRUPT_STATUS)).toBe(mmio.INT_USED_BUFFER);
});

test("one interrupt for a batch, if the driver with the event index has not looked meanwhile", () => {
  const { plugged, bringUp } = rig(64);
  const queue = bringUp(64);
  for (let i = 0; i < 40; i++) queue.add(ONE_BYTE);
  plugged.runner.serve(0);
  expect(queue.used().length).toBe(40);
  expect(plugged.interrupts).toBe(1);
});

test("no interrupt for a driver that is looking anyway", () => {
  const { plugged, bringUp } = rig();
  const queue = bringUp(8);
  queue.add(ONE_BYTE);
  queue.usedEvent = 7;
  plugged.runner.serve(0);
  expect(queue.used().length).toBe(1);
  expect(plugged.interrupts).toBe(0);
});

test.each([
  ["flags", NO_EVENT_IDX],
  ["the event index", undefined],
])("a request offered while the doorbell is silent, by %s, is found", (_, without) => {
  const { plugged, bringUp, device } = rig();
  const { runner } = plugged;
  const queue = bringUp(8, without);
  let late = 3;
  device.onServe = () => {
    if (late-- > 0) queue.add(ONE_BYTE);
    return 0;
  };
  queue.add(ONE_BYTE);
  runner.serve(0);
  expect(queue.used().length).toBe(4);
  const silent = () => (without === NO_EVENT_IDX ? queue.noNotify : queue.availEvent !== queue.availIndex);
  expect(silent()).toBe(true);
  expect(runner.hasMore(0)).toBe(false);

  queue.add(ONE_BYTE);
  expect(runner.hasMore(0)).toBe(true);
  expect(runner.arm(0)).toBe(true); // nothing rings for it: it has to be served
  runner.serve(0);
  expect(queue.used().length).toBe(1);
  expect(runner.arm(0)).toBe(false);
  expect(silent()).toBe(false);
});

test("a queue that is to be left armed is, and a request offered in the last moment is served", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8, NO_EVENT_IDX);
  let late = 3;
  device.onServe = () => {
    if (late-- > 0) queue.add(ONE_BYTE); // while the doorbell is silent
    return 0;
  };
  queue.add(ONE_BYTE);
  expect(plugged.runner.serve(0, false)).toBe(NEVER);
  expect(queue.used().length).toBe(4);
  expect(queue.noNotify).toBe(false);
});

test("a queue that is not open has nothing more, and cannot be armed", () => {
  const { plugged } = rig();
  expect(plugged.runner.hasMore(0)).toBe(false);
  expect(plugged.runner.arm(0)).toBe(false);
});

test("a driver that never stops offering does not keep the io thread from other queues", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8, NO_EVENT_IDX);
  device.onServe = () => {
    queue.add(ONE_BYTE);
    return 0;
  };
  queue.add(ONE_BYTE);
  for (const batches of [1, 2]) {
    expect(plugged.runner.serve(0)).toBe(AGAIN);
    expect(plugged.runner.served).toBe(64);
    expect(plugged.interrupts).toBe(5 * batches);
  }
});

test("the io thread stops in the middle of a batch when the driver resets the device", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8);
  let served = 0;
  device.onServe = () => {
    if (++served === 2) plugged.transport.write(mmio.STATUS, 4, 0); // another CPU; it waits outside the lock
    return 0;
  };
  for (let i = 0; i < 5; i++) queue.add(ONE_BYTE);
  expect(plugged.runner.serve(0)).toBe(AGAIN);
  expect(served).toBe(2);
  expect(plugged.interrupts).toBe(1); // for the first request; the reset device stays quiet
  expect(plugged.runner.serve(0)).toBe(AGAIN); // nothing before the epoch is settled
  expect(plugged.runner.settleEpoch()).toBe(true);
  expect(plugged.runner.serve(0)).toBe(NEVER);
  expect(served).toBe(2);
  expect(isHeld(plugged.lock)).toBe(false);
});

test("a request may be answered later, by its head", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8);
  const waiting: number[] = [];
  device.onServe = (_, chain) => {
    waiting.push(chain.head);
    return PENDING;
  };
  const heads = [queue.add(ONE_BYTE), queue.add(ONE_BYTE)];
  plugged.runner.serve(0);
  expect(queue.used()).toEqual([]);
  expect(plugged.interrupts).toBe(0);
  device.poll = (queues) => {
    for (const head of waiting.splice(0).reverse()) queues[0].push(head, 7);
  };
  plugged.runner.poll();
  expect(queue.used()).toEqual(heads.reverse().map((id) => ({ id, length: 7 })));
  expect(plugged.interrupts).toBe(1);
});

test("a device that waits for something else than the driver leaves requests in the queue, and no notification is asked for", () => {
  const { plugged, bringUp, device } = rig();
  const { runner } = plugged;
  const queue = bringUp(8, NO_EVENT_IDX);
  let frames = 1;
  device.run = (rx) => {
    for (const chain = new Chain(plugged.memory, 16); frames > 0 && rx.pop(chain); frames--)
      rx.push(chain.head, 1);
    return NEVER;
  };
  const heads = [1, 2, 3].map(() => queue.add(ONE_BYTE));
  expect(runner.serve(0)).toBe(NEVER);
  expect(queue.used().map(({ id }) => id)).toEqual(heads.slice(0, 1));
  expect([runner.hasMore(0), runner.arm(0), queue.noNotify]).toEqual([false, false, true]);

  frames = 5; // more than there are buffers: now it waits for the driver
  expect(runner.serve(0)).toBe(NEVER);
  expect(queue.used().map(({ id }) => id)).toEqual(heads.slice(1));
  expect([runner.hasMore(0), runner.arm(0), queue.noNotify]).toEqual([false, false, false]);
});

test("the time after which a device wants to go on is passed on, and its silent doorbell stays silent", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8, NO_EVENT_IDX);
  queue.add(ONE_BYTE);
  device.run = () => 7.5;
  expect(plugged.runner.serve(0, false)).toBe(7.5);
  expect(queue.noNotify).toBe(true);
});

test("the back end is submitted to after each 16 requests in flight, and at the end", () => {
  const { plugged, bringUp, device } = rig(64);
  const queue = bringUp(64);
  let begun = 0;
  const polls: number[] = [];
  device.onServe = () => {
    begun++;
    return PENDING;
  };
  device.poll = () => void polls.push(begun);
  for (let i = 0; i < 40; i++) queue.add(ONE_BYTE);
  expect(plugged.runner.serve(0)).toBe(NEVER);
  expect(polls).toEqual([16, 32, 40]);
});

test("each interrupt says which queue it is for", () => {
  const { plugged, bringUp, memory, device } = rig();
  const raised: number[] = [];
  plugged.transport.usedBuffers = (queue) => void raised.push(queue);
  const first = bringUp(8);
  const second = new DriverQueue(memory, 8, RAM + 0x2000);
  plugged.write(mmio.QUEUE_SEL, 1);
  plugged.setQueue(1, second);
  const waiting: [number, number][] = [];
  device.onServe = (index, chain) => {
    waiting.push([index, chain.head]);
    return PENDING;
  };
  first.add(ONE_BYTE);
  second.add(ONE_BYTE);
  plugged.runner.serve(0);
  plugged.runner.serve(1);
  device.poll = (queues) => {
    for (const [index, head] of waiting.splice(0).reverse()) queues[index].push(head, 0);
  };
  plugged.runner.poll();
  expect(raised).toEqual([1, 0]);
});

describe("memory that the device wrote is marked dirty", () => {
  const TABLE = RAM + 0x9000;
  const buffers = [
    { address: DATA, length: 16 },
    { address: DATA + 0x1000, length: 100, writable: true },
    { address: DATA + 0x3000, length: 1, writable: true },
  ];

  function dirtyRig() {
    const ranges: [number, number][] = [];
    const dirty = {
      on: true,
      mark: (offset: number, length: number) => void ranges.push([offset, length]),
    };
    const memory = new TestMemory();
    const device = new Echo(memory);
    const plugged = new Plugged(device, memory, {}, dirty);
    const queue = plugged.bringUp(8);
    const usedRing = [memory.translate(queue.device, 6 + 8 * 8), 6 + 8 * 8];
    const writable = buffers.slice(1).map(({ address, length }) => [memory.translate(address, 1), length]);
    return { ranges, dirty, device, plugged, queue, usedRing, writable };
  }

  test.each([undefined, TABLE])("by its buffers and its used ring (indirect table: %s)", (table) => {
    const { ranges, plugged, queue, usedRing, writable } = dirtyRig();
    queue.add(buffers, table);
    plugged.runner.serve(0);
    expect(ranges).toContainEqual(usedRing);
    expect(ranges.filter((range) => range[0] !== usedRing[0])).toEqual(writable);
  });

  test("also of a request that was in flight when marking began", () => {
    const { ranges, dirty, device, plugged, queue, usedRing, writable } = dirtyRig();
    dirty.on = false;
    device.onServe = () => PENDING;
    const head = queue.add(buffers);
    plugged.runner.serve(0);
    expect(ranges).toEqual([]);
    dirty.on = true;
    device.poll = (queues) => queues[0].push(head, 1);
    plugged.runner.poll();
    expect(ranges).toEqual([...writable, usedRing]);
  });

  test("a driver that breaks the descriptors of a request in flight breaks nothing else", () => {
    const { device, plugged, queue } = dirtyRig();
    device.onServe = () => PENDING;
    const head = queue.add(buffers);
    plugged.runner.serve(0);
    queue.describe(head, { address: 1, length: 16 });
    device.poll = (queues) => queues[0].push(head, 1);
    plugged.runner.poll();
    expect(queue.used()).toEqual([{ id: head, length: 1 }]);
    expect(plugged.needsReset).toBe(false);
  });
});

test("after a quiet point another runner over the same state goes on, losing and repeating nothing", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8);
  const first = queue.add(ONE_BYTE);
  plugged.runner.serve(0);
  plugged.runner.quiesce();
  const second = queue.add(ONE_BYTE);
  const restored = plugged.newRunner();
  expect(restored.settleEpoch()).toBe(false);
  restored.serve(0);
  expect(queue.used().map((element) => element.id)).toEqual([first, second]);
  expect(device.log).toEqual(["activate", "deactivate", "activate"]);
});

test.each(HOSTILE)("%s stops this device until it is reset, and is reported once", (_, complaint, write) => {
  const { plugged, bringUp, memory, device } = rig();
  const queue = bringUp(8);
  queue.add(ONE_BYTE);
  plugged.runner.serve(0);
  const before = plugged.interrupts;

  write(queue);
  expect(plugged.runner.serve(0)).toBe(NEVER);
  expect(plugged.needsReset).toBe(true);
  expect(plugged.interrupts).toBe(before + 1);
  expect(plugged.read(mmio.INTERRUPT_STATUS) & mmio.INT_CONFIG_CHANGE).not.toBe(0);
  expect(plugged.reports).toHaveLength(1);
  expect(plugged.reports[0]).toMatchObject({ device: "test0", code: "EQUEUE" });
  expect(plugged.reports[0].message).toMatch(complaint);
  expect(isHeld(plugged.lock)).toBe(false);

  plugged.runner.serve(0);
  expect(plugged.reports).toHaveLength(1);
  expect(device.log.at(-1)).toBe("deactivate");

  memory.bytes.fill(0, memory.translate(RAM, 1), memory.translate(RAM, 1) + 0x6000);
  const again = bringUp(8);
  again.add(ONE_BYTE);
  plugged.runner.serve(0);
  expect(again.used().length).toBe(1);
});

test("another device goes on while one is broken", () => {
  const memory = new TestMemory();
  const [broken, sound] = [new Plugged(new Echo(memory), memory), new Plugged(new Echo(memory), memory)];
  const bad = broken.bringUp(8);
  sound.negotiate();
  const good = new DriverQueue(memory, 8, RAM + 0x2000);
  sound.setQueue(0, good);
  sound.driverOk();
  bad.offer(100);
  good.add(ONE_BYTE);
  broken.runner.serve(0);
  sound.runner.serve(0);
  expect(broken.needsReset).toBe(true);
  expect(sound.needsReset).toBe(false);
  expect(good.used().length).toBe(1);
});

test("a queue that cannot be opened where the driver put it needs a reset", () => {
  const { plugged } = rig();
  const queue = plugged.bringUp(8);
  plugged.configs[0].descHigh = 0x1234;
  queue.add(ONE_BYTE);
  plugged.runner.serve(0);
  expect(plugged.needsReset).toBe(true);
  expect(plugged.reports[0].message).toMatch(/descriptor table/);
  expect(isHeld(plugged.lock)).toBe(false);
});

test("a ring that breaks because the driver took it away is not a failure", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8);
  device.onServe = () => {
    plugged.transport.write(mmio.STATUS, 4, 0);
    throw new BrokenQueue("what the driver wrote there next");
  };
  queue.add(ONE_BYTE);
  plugged.runner.serve(0);
  expect(plugged.needsReset).toBe(false);
  expect(plugged.reports).toEqual([]);
});

test("an error of our own is not taken for the driver's", () => {
  const { plugged, bringUp, device } = rig();
  const queue = bringUp(8);
  device.onServe = () => {
    throw new TypeError("a bug");
  };
  queue.add(ONE_BYTE);
  expect(() => plugged.runner.serve(0)).toThrow(TypeError);
  expect(isHeld(plugged.lock)).toBe(false);
});
