/** Queues that the kernel serves in place of the device: a kernel that the test plays. */
import { expect, test } from "vitest";
import { type Bell, NEVER } from "../../../../src/bus/io-task.ts";
import type { DeviceQueue, VirtioDevice } from "../../../../src/virtio/device.ts";
import { Chain } from "../../../../src/virtio/queue/chain.ts";
import type { KernelQueues } from "../../../../src/virtio/queue/kernel-queues.ts";
import type { RingPlace } from "../../../../src/virtio/queue/split-queue.ts";
import * as mmio from "../../../../src/virtio/transport/mmio-registers.ts";
import { virtioTask } from "../../../../src/virtio/virtio-task.ts";
import { DriverQueue, MAPPING_BYTES, Plugged, RAM, TestMemory } from "../../../support/virtio-driver.ts";

const ONE_BYTE = [{ address: RAM + 0x8000, length: 1, writable: true }];
const [DOORBELL0, DOORBELL1, DOORBELL2, ARRIVAL, USED, FAILED] = [{}, {}, {}, {}, {}, {}];

/** Two queues may be the kernel's; the third is the device's own. */
class Card implements VirtioDevice {
  readonly deviceId = 42;
  readonly featuresLow = 0;
  readonly featuresHigh = 0;
  readonly queueSizes = [8, 8, 8];
  readonly configSize = 0;
  leaves = true;
  readonly served: number[] = [];
  onCommand = () => {};
  readonly #chain: Chain;

  constructor(memory: TestMemory) {
    this.#chain = new Chain(memory, 8);
  }
  readConfig = () => 0;
  writeConfig() {}
  negotiate = () => true;
  reset() {}
  activate() {}
  deactivate() {}
  leavesToKernel(index: number): boolean {
    return index < 2 && this.leaves;
  }
  run(queue: DeviceQueue, index: number): number {
    while (queue.pop(this.#chain)) {
      this.served.push(index);
      if (index === 2) this.onCommand();
      queue.push(this.#chain.head, 0);
    }
    return NEVER;
  }
}

/** Serves a request by counting it. */
class FakeKernel implements KernelQueues {
  readonly log: string[] = [];
  readonly next = [0, 0];
  can = true;
  mayServe = true;
  hasFailed = false;
  start(index: number, { size }: RingPlace, nextAvail: number, _features: object, kick: Bell): boolean {
    if (!this.can) return false;
    this.log.push(`start ${index} size ${size} at ${nextAvail}`);
    expect(kick).toBe([DOORBELL0, DOORBELL1][index]);
    this.next[index] = nextAvail;
    return true;
  }
  kick(index: number): void {
    this.log.push(`kick ${index}`);
  }
  stop(index: number): number {
    this.log.push(`stop ${index}`);
    return this.next[index];
  }
}

function rig() {
  const memory = new TestMemory();
  const card = new Card(memory);
  const kernel = new FakeKernel();
  const dirty = { on: false, marked: 0, mark: (_offset: number, length: number) => (dirty.marked += length) };
  const plugged = new Plugged(card, memory, {}, dirty);
  const task = virtioTask({
    ...plugged.parts,
    doorbells: [DOORBELL0, DOORBELL1, DOORBELL2],
    events: [
      { bell: ARRIVAL, queue: 0 },
      { bell: USED, kernel: { used: 1 } },
      { bell: FAILED, kernel: { failed: () => kernel.hasFailed } },
    ],
    kernelQueues: kernel,
  });
  plugged.settleEpoch = () => void task.settle?.();
  const heard = [true, true, true, true, true, true];
  task.connect?.((bell, on) => {
    heard[bell] = on;
  });
  const bringUp = () => {
    plugged.negotiate();
    const queues = [0, 1, 2].map((n) => new DriverQueue(memory, 8, RAM + n * 0x1000));
    for (const [n, queue] of queues.entries()) plugged.setQueue(n, queue);
    plugged.driverOk();
    return queues;
  };
  return { card, kernel, dirty, plugged, task, heard, bringUp };
}

test("the first notification gives the kernel all its queues, and their bells are for it alone", () => {
  const { card, kernel, task, heard, bringUp } = rig();
  const [rx] = bringUp();
  rx.add(ONE_BYTE);
  task.turn(0, true);
  expect(kernel.log).toEqual(["start 0 size 8 at 0", "kick 0", "start 1 size 8 at 0", "kick 1"]);
  expect(heard).toEqual([false, false, true, false, true, true]);
  expect(card.served).toEqual([]);
});

test("a notification that was an exit is passed on to the kernel", () => {
  const { kernel, task, bringUp } = rig();
  bringUp();
  task.turn(0, true);
  kernel.log.length = 0;
  task.turn(1, true);
  expect(kernel.log).toEqual(["kick 1"]);
});

test("the driver is interrupted when the kernel says so", () => {
  const { plugged, task, bringUp } = rig();
  bringUp();
  task.turn(0, true);
  expect(plugged.interrupts).toBe(0);
  task.turn(4, true);
  expect(plugged.interrupts).toBe(1);
});

test("a pause takes the queues back where the kernel is, and then they continue there", () => {
  const { plugged, kernel, task, heard, bringUp } = rig();
  bringUp();
  task.turn(0, true);
  kernel.next[0] = 5;
  kernel.log.length = 0;
  task.quiesce();
  expect(kernel.log).toEqual(["stop 0", "stop 1"]);
  expect(plugged.cursors.map(({ nextAvail, nextUsed }) => [nextAvail, nextUsed])).toEqual([
    [5, 5],
    [0, 0],
    [0, 0],
  ]);
  // A call of the kernel's that nobody took is not lost.
  expect(plugged.interrupts).toBe(2);
  expect(heard).not.toContain(false);
  task.resume();
  task.turn(0, true);
  expect(kernel.log).toContain("start 0 size 8 at 5");
});

test("a reset by the driver stops the kernel, and the next driver begins at 0", () => {
  const { plugged, kernel, task, bringUp } = rig();
  bringUp();
  task.turn(0, true);
  kernel.next[0] = 5;
  plugged.write(mmio.STATUS, 0);
  expect(kernel.log.slice(-2)).toEqual(["stop 0", "stop 1"]);
  bringUp();
  task.turn(0, true);
  expect(kernel.log).toContain("start 0 size 8 at 0");
});

test("what the kernel may not serve any more the device serves, and back", () => {
  const { card, kernel, task, bringUp } = rig();
  const [rx] = bringUp();
  task.turn(0, true);
  card.leaves = false;
  rx.add(ONE_BYTE);
  task.turn(0, true);
  expect([card.served, rx.used().length]).toEqual([[0], 1]);
  kernel.log.length = 0;
  card.leaves = true;
  task.turn(0, true);
  expect(kernel.log).toEqual(["start 0 size 8 at 1", "kick 0", "start 1 size 8 at 0", "kick 1", "kick 0"]);
});

test("while somebody watches the requests the device serves", () => {
  const { card, kernel, task, bringUp } = rig();
  const [rx] = bringUp();
  task.turn(0, true);
  kernel.mayServe = false;
  rx.add(ONE_BYTE);
  task.turn(0, true);
  expect(card.served).toEqual([0]);
});

test("a command in a queue of the device changes what the kernel serves at once", () => {
  const { card, kernel, task, bringUp } = rig();
  const [, , control] = bringUp();
  task.turn(0, true);
  card.onCommand = () => {
    card.leaves = false;
  };
  control.add(ONE_BYTE);
  task.turn(2, true);
  expect(kernel.log.slice(-2)).toEqual(["stop 0", "stop 1"]);
});

test("while written pages are recorded the device serves, and all that the kernel may have written counts", () => {
  const { card, dirty, kernel, plugged, task, bringUp } = rig();
  const [rx] = bringUp();
  task.turn(0, true);
  dirty.on = true;
  rx.add(ONE_BYTE);
  task.turn(0, true);
  expect(card.served).toEqual([0]);
  expect(dirty.marked).toBeGreaterThanOrEqual(2 * plugged.memory.regions[0].size);
  expect(dirty.marked).toBeLessThan(3 * MAPPING_BYTES);
  dirty.on = false;
  kernel.log.length = 0;
  task.turn(0, true);
  expect(kernel.log).toContain("start 0 size 8 at 1");
});

test("a queue that the kernel cannot serve goes to the device, which finds what the driver broke", () => {
  const { kernel, plugged, task, bringUp } = rig();
  const [, tx] = bringUp();
  task.turn(0, true);
  tx.offer(99); // no such descriptor
  kernel.hasFailed = true;
  task.turn(5, true);
  expect(kernel.log.slice(-2)).toEqual(["stop 0", "stop 1"]);
  task.turn(1, true);
  expect(plugged.needsReset).toBe(true);
  expect(plugged.reports.map(({ code }) => code)).toEqual(["EQUEUE"]);
  kernel.log.length = 0;
  bringUp();
  task.turn(0, true);
  expect(kernel.log).toContain("start 0 size 8 at 0");
});

test("a turn without an error, as after a pause, takes nothing from the kernel", () => {
  const { kernel, task, bringUp } = rig();
  bringUp();
  task.turn(0, true);
  task.turn(5, true);
  expect(kernel.log.join()).not.toContain("stop");
});

test("a host that cannot serve the driver's queues leaves them to the device", () => {
  const { card, kernel, task, heard, bringUp } = rig();
  const [rx] = bringUp();
  kernel.can = false;
  rx.add(ONE_BYTE);
  task.turn(0, true);
  expect([card.served, rx.used().length, kernel.log]).toEqual([[0], 1, []]);
  expect(heard).not.toContain(false);
});

test("a queue that is not all RAM is broken before the kernel sees it", () => {
  const { kernel, plugged, task } = rig();
  plugged.negotiate();
  plugged.setQueue(0, new DriverQueue(plugged.memory, 8, 0xf000_0000));
  plugged.driverOk();
  task.turn(0, true);
  expect([plugged.needsReset, kernel.log]).toEqual([true, []]);
});
