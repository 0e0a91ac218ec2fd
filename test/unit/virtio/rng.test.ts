import { expect, test } from "vitest";
import { VirtioRng } from "../../../src/virtio/rng.ts";
import { Plugged, RAM, TestMemory } from "../../support/virtio-driver.ts";

const DATA = RAM + 0x8000;

function rig() {
  const memory = new TestMemory();
  let next = 0;
  const source = {
    fill: (bytes: Uint8Array) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = ++next;
    },
  };
  const plugged = new Plugged(new VirtioRng({ memory, source }), memory);
  return { memory, plugged, queue: plugged.bringUp(8) };
}

test("the guest's buffers are filled, each with bytes of its own", () => {
  const { memory, plugged, queue } = rig();
  queue.add([
    { address: DATA, length: 3, writable: true },
    { address: DATA + 100, length: 2, writable: true },
  ]);
  plugged.runner.serve(0);
  expect(queue.used()[0].length).toBe(5);
  expect([0, 1, 2, 3, 100, 101, 102].map((i) => memory.at(DATA + i).getUint8(0))).toEqual([
    1, 2, 3, 0, 4, 5, 0,
  ]);
});

test("a greedy guest gets 64 KiB a request", () => {
  const { memory, plugged, queue } = rig();
  queue.add([
    { address: DATA, length: 40000, writable: true },
    { address: DATA + 40000, length: 40000, writable: true },
  ]);
  plugged.runner.serve(0);
  expect(queue.used()[0].length).toBe(65536);
  expect(memory.at(DATA + 65536).getUint32(0, true)).toBe(0);
});

test("a buffer to read breaks the queue", () => {
  const { plugged, queue } = rig();
  queue.add([{ address: DATA, length: 3 }]);
  plugged.runner.serve(0);
  expect(plugged.needsReset).toBe(true);
});
