/** A virtio device as the reactor sees it: bells, turns, and nothing of queues. */
import { expect, test } from "vitest";
import { AGAIN, NEVER } from "../../../src/bus/io-task.ts";
import type { DeviceQueue, VirtioDevice } from "../../../src/virtio/device.ts";
import { Chain } from "../../../src/virtio/queue/chain.ts";
import { type VirtioTaskParts, virtioTask } from "../../../src/virtio/virtio-task.ts";
import { DriverQueue, Plugged, RAM, TestMemory } from "../../support/virtio-driver.ts";

const ONE_BYTE = [{ address: RAM + 0x8000, length: 1, writable: true }];
const [DOORBELL0, DOORBELL1, COMPLETED, FRAME] = [{}, {}, {}, {}];

/** Queue 0 receives: it takes a buffer for each frame. Queue 1 sends: its requests complete when `finish` is called. */
class Card implements VirtioDevice {
  readonly deviceId = 42;
  readonly featuresLow = 0;
  readonly featuresHigh = 0;
  readonly queueSizes = [8, 8];
  readonly configSize = 0;
  frames = 0;
  readonly inFlight: number[] = [];
  finished = 0;
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
  run(queue: DeviceQueue, index: number): number {
    if (index === 0) {
      for (; this.frames > 0 && queue.pop(this.#chain); this.frames--) queue.push(this.#chain.head, 1);
    } else {
      while (queue.pop(this.#chain)) this.inFlight.push(this.#chain.head);
    }
    return NEVER;
  }
  poll(queues: readonly DeviceQueue[]): void {
    for (const head of this.inFlight.splice(0, this.finished)) queues[1].push(head, 0);
    this.finished = 0;
  }
}

function rig(more: Partial<VirtioTaskParts> = {}) {
  const memory = new TestMemory();
  const card = new Card(memory);
  const plugged = new Plugged(card, memory);
  const task = virtioTask({
    ...plugged.parts,
    doorbells: [DOORBELL0, DOORBELL1],
    events: [{ bell: COMPLETED }, { bell: FRAME, queue: 0 }],
    ...more,
  });
  plugged.negotiate();
  const rx = new DriverQueue(memory, 8);
  const tx = new DriverQueue(memory, 8, RAM + 0x2000);
  plugged.setQueue(0, rx);
  plugged.setQueue(1, tx);
  plugged.driverOk();
  task.settle?.();
  const ring = (bell: object, polls = false) => task.turn(task.bells.indexOf(bell), polls);
  return { card, plugged, task, rx, tx, ring };
}

test("it has a bell for each queue, and for each event of the device", () => {
  const { task, plugged } = rig();
  expect(task.bells).toEqual([DOORBELL0, DOORBELL1, COMPLETED, FRAME]);
  expect(task.name).toBe("test0");
  expect(task.polled).toBe(2);
  const withCollector = virtioTask({
    ...plugged.parts,
    doorbells: [{}, {}],
    acknowledgement: plugged.transport,
  });
  expect(withCollector.bells).toEqual([{}, {}, undefined]);
});

test("a doorbell has its queue served, an event has completed requests pushed", () => {
  const { card, task, tx, ring } = rig();
  const heads = [tx.add(ONE_BYTE), tx.add(ONE_BYTE)];
  expect(ring(DOORBELL1)).toBe(NEVER);
  expect([task.served, card.inFlight, tx.used()]).toEqual([2, heads, []]);
  card.finished = 1;
  expect(ring(COMPLETED)).toBe(NEVER);
  expect([task.served, tx.used().map(({ id }) => id)]).toEqual([0, heads.slice(0, 1)]);
});

test("an event of a queue has that queue served: a buffer waits until there is a frame for it", () => {
  const { card, task, rx, ring } = rig();
  const head = rx.add(ONE_BYTE);
  expect(ring(DOORBELL0, true)).toBe(NEVER);
  expect([rx.used(), task.peek?.(0), task.arm?.(0)]).toEqual([[], false, NEVER]);
  card.frames = 2;
  ring(FRAME, true);
  expect(rx.used().map(({ id }) => id)).toEqual([head]);
  // The second frame waits for the driver now, which has to notify.
  expect(task.arm?.(0)).toBe(NEVER);
  rx.add(ONE_BYTE);
  ring(DOORBELL0);
  expect(rx.used()).toHaveLength(1);
});

test("a queue that was served while polling is peeked at, and armed before a sleep", () => {
  const { task, tx, ring } = rig();
  tx.add(ONE_BYTE);
  ring(DOORBELL1, true);
  expect(task.peek?.(1)).toBe(false);
  tx.add(ONE_BYTE);
  expect([task.peek?.(1), task.peek?.(0)]).toEqual([true, false]);
  expect(task.arm?.(1)).toBe(AGAIN);
  ring(DOORBELL1, true);
  expect(task.arm?.(1)).toBe(NEVER);
});

test("an interrupt that is not acknowledged has its event read after an idle time, and never otherwise", () => {
  let asked = 0;
  const acknowledgement = {
    acknowledgement: { offset: 0, length: 4 } as const,
    unacknowledged: false,
    collectAcknowledgement: () => {
      asked++;
      acknowledgement.unacknowledged = false;
    },
  };
  const { task } = rig({ acknowledgement });
  const bell = task.bells.length - 1;
  expect(task.arm?.(bell)).toBe(NEVER);
  acknowledgement.unacknowledged = true;
  expect(task.arm?.(bell)).toBe(10);
  expect(task.turn(bell, false)).toBe(NEVER);
  expect([asked, task.arm?.(bell)]).toEqual([1, NEVER]);
});

test("an order is the device's, which may change its configuration; a device without orders refuses them", () => {
  const closed: string[] = [];
  const { task, plugged } = rig({
    order: (order, runner) => {
      runner.resize(4096);
      return [order];
    },
    close: () => void closed.push("closed"),
  });
  const before = plugged.interrupts;
  expect(task.order?.("resize")).toEqual(["resize"]);
  expect(plugged.interrupts).toBe(before + 1);
  task.close?.();
  expect(closed).toEqual(["closed"]);
  expect(() => rig().task.order?.("resize")).toThrow(/takes no orders/);
});

test("queues that the driver took away are settled once", () => {
  const { plugged, task } = rig();
  expect(task.settle?.()).toBe(false);
  plugged.transport.reset();
  expect([task.settle?.(), task.settle?.()]).toEqual([true, false]);
});
