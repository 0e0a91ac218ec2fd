import { expect, test } from "vitest";
import { MAX_WINDOWS } from "../../../src/bus/address-space.ts";
import { VIRTIO_IRQS } from "../../../src/machine/memory-map.ts";
import { type Blocks, blocks, blocksBytes, EXIT_REASONS } from "../../../src/threads/blocks.ts";
import { END, RUN } from "../../../src/threads/control.ts";
import { BLK_COUNTERS } from "../../../src/virtio/blk/blk-requests.ts";
import { MAX_CPUS } from "../../../src/vm/validate.ts";

function twice(cpus: number, virtio: number): [Blocks, Blocks] {
  const buffer = new SharedArrayBuffer(blocksBytes(cpus, virtio));
  return [blocks(buffer, cpus, virtio), blocks(buffer, cpus, virtio)];
}

test.each([
  [1, 0],
  [2, 1],
  [MAX_CPUS, 0],
  [MAX_CPUS, VIRTIO_IRQS.length],
])("%i CPUs and %i virtio devices fit", (cpus, virtio) => {
  const [{ vcpus, mailboxes, counters, rings, virtio: devices }] = twice(cpus, virtio);
  expect([vcpus.length, mailboxes.length, counters.length]).toEqual([cpus, cpus, cpus]);
  expect(rings.length).toBe(5);
  expect(devices.length).toBe(virtio);
  for (const { ports, memory, exits } of counters) {
    expect([ports.length, memory.length]).toEqual([MAX_WINDOWS + 1, MAX_WINDOWS + 1]);
    expect(exits.length).toBe(EXIT_REASONS);
  }
  for (const device of devices) expect(device.length).toBeGreaterThanOrEqual(BLK_COUNTERS);
});

test("what one thread writes, another reads in the same place, and nowhere else", () => {
  const [a, b] = twice(3, 2);
  a.vcpus[1].request(RUN);
  a.io.request(END);
  a.counters[2].exits[5] = 11;
  a.counters[2].interrupted[0] = 12;
  a.counters[2].ports[MAX_WINDOWS] = 13;
  a.counters[2].memory[0] = 14;
  a.virtio[1][0] = 15;
  a.rings[4].put(16);
  a.mailboxes[0].close();

  expect(b.vcpus.map((control) => control.requested)).toEqual([0, RUN, 0]);
  expect(b.io.requested).toBe(END);
  expect(b.counters[2].exits[5]).toBe(11);
  expect(b.counters[2].interrupted[0]).toBe(12);
  expect(b.counters[2].ports[MAX_WINDOWS]).toBe(13);
  expect(b.counters[2].memory[0]).toBe(14);
  expect(b.virtio[1][0]).toBe(15);
  expect(b.rings.map((ring) => ring.length)).toEqual([0, 0, 0, 0, 1]);
  const closed = b.mailboxes.map((mailbox) => mailbox.ask(0, false, 0, 4, 0, () => mailbox.answer(1)));
  expect(closed).toEqual([0xffff_ffff, 1, 1]);

  const sum = (numbers: Iterable<number>) => [...numbers].reduce((x, y) => x + y, 0);
  const all = b.counters.flatMap((c) => [c.exits, c.interrupted, c.ports, c.memory]);
  expect(sum([...all, ...b.virtio].map(sum))).toBe(11 + 12 + 13 + 14 + 15);
});

test("a console ring filled to the brim touches nothing beside it", () => {
  const [a, b] = twice(2, 1);
  for (const ring of a.rings) while (ring.put(0xff));
  expect(b.rings.map((ring) => ring.length)).toEqual(a.rings.map((ring) => ring.capacity));
  expect(b.vcpus.map((control) => control.requested)).toEqual([0, 0]);
  expect([...b.virtio[0]]).toEqual(new Array(b.virtio[0].length).fill(0));
});
