import { expect, test } from "vitest";
import { Arena } from "../../../src/base/arena.ts";
import { layout } from "../../../src/base/layout.ts";
import { MAX_WINDOWS } from "../../../src/bus/address-space.ts";
import type { IoDevice } from "../../../src/bus/io.ts";
import { Machine } from "../../../src/machine/machine.ts";

const counts = () => ({
  ports: new Float64Array(MAX_WINDOWS + 1),
  memory: new Float64Array(MAX_WINDOWS + 1),
});

function empty(driveIrq: (gsi: number, asserted: boolean) => void = () => {}) {
  const arena = new Arena(new SharedArrayBuffer(4096));
  return { arena, machine: new Machine(arena, driveIrq, counts()) };
}

/** Answers with the offset it was asked for. */
const echo = (): IoDevice => ({ read: (offset) => offset, write() {}, reset() {} });

test("a chip answers at each of its places, with its own offsets", () => {
  const { machine } = empty();
  machine.add("split", echo(), [
    { space: "ports", address: 0x60, length: 1 },
    { space: "ports", address: 0x64, length: 1, offset: 4 },
    { space: "memory", address: 0xd000_0000, length: 16 },
  ]);
  expect(machine.ports.read(0x60, 1)).toBe(0);
  expect(machine.ports.read(0x64, 1)).toBe(4);
  expect(machine.ports.read(0x62, 1)).toBe(0xff);
  expect(machine.memory.read(0xd000_000c, 4)).toBe(12);
});

test("a chip's lock is held while it answers, whichever thread asks", () => {
  const { machine } = empty();
  const chip = { ...echo(), read: () => (lock.held ? 1 : 0) };
  const { lock } = machine.add("shy", chip, [{ space: "ports", address: 0, length: 1 }]);
  expect(lock.held).toBe(false);
  expect(machine.ports.read(0, 1)).toBe(1);
  expect(lock.held).toBe(false);
});

test("a chip of narrow data bus is seen through its adapter, and reached without it", () => {
  const { machine } = empty();
  const wrap = (inner: IoDevice): IoDevice => ({ ...inner, read: (offset) => inner.read(offset, 1) + 0x50 });
  const { chip } = machine.add("narrow", echo(), [{ space: "ports", address: 8, length: 8 }], wrap);
  expect(machine.ports.read(9, 1)).toBe(0x51);
  expect(chip.read(1, 1)).toBe(1);
});

test("reset reaches every chip once, also one in several places", () => {
  const { machine } = empty();
  const resets: string[] = [];
  const chip = (name: string) => ({ ...echo(), reset: () => resets.push(name) && undefined });
  machine.add("a", chip("a"), [
    { space: "ports", address: 0, length: 1 },
    { space: "ports", address: 2, length: 1 },
  ]);
  machine.add("b", chip("b"), [{ space: "memory", address: 0, length: 1 }]);
  machine.reset();
  expect(resets).toEqual(["a", "b"]);
});

test("a line drives its own input, and only when its level changes", () => {
  const driven: [number, boolean][] = [];
  const { machine } = empty((gsi, asserted) => driven.push([gsi, asserted]));
  const line = machine.line(4, "com1");
  for (const level of [false, true, true, false, false]) line.set(level);
  expect(driven).toEqual([
    [4, true],
    [4, false],
  ]);
});

test("state and locks are what two machines over one arena share", () => {
  const Scratch = layout("scratch", 1, { value: "u32" });
  const buffer = new SharedArrayBuffer(4096);
  const [a, b] = [1, 2].map(() => {
    const machine = new Machine(new Arena(buffer), () => {}, counts());
    const regs = machine.take(Scratch, "chip");
    const chip: IoDevice = {
      read: () => regs.value,
      write(_offset, _size, value) {
        regs.value = value;
      },
      reset() {},
    };
    return { machine, ...machine.add("chip", chip, [{ space: "ports", address: 0, length: 4 }]) };
  });
  a.machine.ports.write(0, 4, 0x1234_5678);
  expect(b.machine.ports.read(0, 4)).toBe(0x1234_5678);
  a.lock.acquire();
  expect(b.lock.held).toBe(true);
});
