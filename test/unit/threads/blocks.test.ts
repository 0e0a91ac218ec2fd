import { expect, test } from "vitest";
import { MAX_WINDOWS } from "../../../src/bus/address-space.ts";
import { MAX_CPUS } from "../../../src/config/machine.ts";
import { type Blocks, blocks, blocksBytes, EXIT_REASONS } from "../../../src/threads/blocks.ts";
import { END, RUN } from "../../../src/threads/control.ts";

const FIELDS = ["requests", "errors"];

/** Two threads' views of the same blocks, with `devices` counted parts and five rings. */
function twice(cpus: number, devices: number) {
  const buffer = new SharedArrayBuffer(blocksBytes(cpus));
  return [1, 2].map(() => withParts(blocks(buffer, cpus), devices));
}

function withParts(shared: Blocks, devices: number) {
  const rings = Array.from({ length: 5 }, (_, n) => shared.parts.addRing(`console${n}`));
  const virtio = Array.from({ length: devices }, (_, n) => shared.parts.addCounters(`device${n}`, FIELDS));
  return { ...shared, rings, virtio };
}

test.each([
  [1, 0],
  [2, 1],
  [MAX_CPUS, 0],
  [MAX_CPUS, 32],
])("%i CPUs and %i counted parts fit", (cpus, devices) => {
  const [{ vcpus, mailboxes, counters, parts }] = twice(cpus, devices);
  expect([vcpus.length, mailboxes.length, counters.length]).toEqual([cpus, cpus, cpus]);
  expect([...parts.rings.keys()]).toEqual([0, 1, 2, 3, 4].map((n) => `console${n}`));
  expect(parts.counters.size).toBe(devices);
  for (const { ports, memory, exits } of counters) {
    expect([ports.length, memory.length]).toEqual([MAX_WINDOWS + 1, MAX_WINDOWS + 1]);
    expect(exits.length).toBe(EXIT_REASONS);
  }
  for (const { fields, values } of parts.counters.values()) {
    expect(fields).toEqual(FIELDS);
    expect(values.length).toBe(FIELDS.length);
  }
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
