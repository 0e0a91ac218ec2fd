import { expect, test } from "vitest";
import { Arena } from "../../../src/base/arena.ts";
import { layout } from "../../../src/base/layout.ts";
import { loadParts, saveParts } from "../../../src/state/part-state.ts";
import { decodeSections, encodeSections } from "../../../src/state/sections.ts";
import { specDifference } from "../../../src/state/spec-difference.ts";

const Chip = layout("chip", 1, { a: "u32", b: "u8" });
const LaterChip = layout("chip", 2, { a: "u32", b: "u8" });
const Queue = layout("queue", 1, { head: "u32" });

function machine(chip = Chip) {
  const arena = new Arena(new SharedArrayBuffer(4096));
  const regs = arena.take(chip, "com1");
  const lock = arena.takeLock("com1");
  const queues = [arena.take(Queue, "disk"), arena.take(Queue, "disk")];
  return { arena, regs, lock, queues };
}

const sectionsOf = (arena: Arena) => decodeSections(encodeSections(saveParts(arena)), "state");

test("registers come back, also of several queues of one device", () => {
  const from = machine();
  from.regs.a = 7;
  from.queues.forEach((queue, n) => {
    queue.head = 100 + n;
  });
  const sections = sectionsOf(from.arena);
  expect([...sections.keys()]).toEqual(["part/com1/chip", "part/disk/queue", "part/disk/queue/1"]);
  const to = machine();
  loadParts(to.arena, sections, "state", "0.1.0");
  expect([to.regs.a, to.queues[0].head, to.queues[1].head]).toEqual([7, 100, 101]);
});

test("another layout is refused in a sentence that names versions, and nothing is changed", () => {
  const sections = sectionsOf(machine().arena);
  const later = machine(LaterChip);
  later.queues[0].head = 5;
  expect(() => loadParts(later.arena, sections, "dir/state", "0.1.0")).toThrow(
    'dir/state: com1: its registers are "chip" version 1 (8 bytes), as vmexit 0.1.0 had them; this one has version 2 (8 bytes)',
  );
  expect(later.queues[0].head).toBe(5);
});

test("registers that are missing, or of a part that the machine has not, are named", () => {
  const sections = sectionsOf(machine().arena);
  const fewer = new Map(sections);
  fewer.delete("part/disk/queue/1");
  expect(() => loadParts(machine().arena, fewer, "state", "0.1.0")).toThrow(
    /disk: .*"part\/disk\/queue\/1" are missing/,
  );
  const more = new Map(sections).set("part/x/y", { name: "part/x/y", version: 1, bytes: new Uint8Array(8) });
  expect(() => loadParts(machine().arena, more, "state", "0.1.0")).toThrow(
    /"part\/x\/y", which this machine does not/,
  );
});

test("a machine in which a thread is inside a device is not saved", () => {
  const { arena, lock } = machine();
  lock.acquire();
  expect(() => saveParts(arena)).toThrow(/in use/);
  lock.release();
  saveParts(arena);
});

test("what a guest cannot see of its machine may differ; the first thing that it can is named", () => {
  const spec = {
    cpus: 1,
    devices: [{ name: "d", config: { size: 512, file: "/a", throttling: undefined } }],
  };
  const now = { cpus: 1, devices: [{ name: "d", config: { size: 512, file: "/b", aio: "threads" } }] };
  expect(specDifference(JSON.parse(JSON.stringify(spec)), now)).toBeUndefined();
  now.devices[0].config.size = 1024;
  expect(specDifference(spec, now)).toBe(
    "devices[0].config.size is 512 in the snapshot, and 1024 in this machine",
  );
  expect(specDifference(null, now)).toMatch(/is null in the snapshot/);
});

test("the medium of a CD drive may be another one than when the machine was switched on", () => {
  const saved = { devices: [{ kind: "ide-cd", config: { size: 2048, blockSize: 512, model: "A" } }] };
  const now = { devices: [{ kind: "ide-cd", config: { size: 0, blockSize: 2048, model: "A" } }] };
  expect(specDifference(saved, now)).toBeUndefined();
  now.devices[0].config.model = "B";
  expect(specDifference(saved, now)).toMatch(/^devices\[0\]\.config\.model is "A"/);
});
