import { expect, test } from "vitest";
import { layout } from "../../../src/base/layout.ts";
import type { IoDevice } from "../../../src/bus/io.ts";
import type { Board } from "../../../src/machine/board.ts";
import { type Made, type Part, type Place, plug } from "../../../src/machine/part.ts";
import { assemble } from "../../support/assemble.ts";
import { isHeld } from "../../support/locks.ts";

/** Answers with the offset it was asked for. */
const echo = (): IoDevice => ({ read: (offset) => offset, write() {}, reset() {} });
const chipPart = (chip: IoDevice): Part<object> => ({
  kind: "chip",
  assemble: (slot): Made => ({ lock: slot.add(chip) }),
});
const board = (...plugs: [name: string, part: Part<object>, place: Place][]): Board => ({
  name: "test",
  parts: () => plugs.map(([name, part, place]) => plug(part, name, place, {})),
});
const port = (address: number, length = 1, offset = 0) =>
  ({ space: "ports", address, length, offset }) as const;

test("a chip answers at each of its places, with its own offsets", () => {
  const windows = [
    port(0x60),
    port(0x64, 1, 4),
    { space: "memory", address: 0xd000_0000, length: 16 } as const,
  ];
  const { ports, memory } = assemble(board(["split", chipPart(echo()), { windows }]));
  expect(ports.read(0x60, 1)).toBe(0);
  expect(ports.read(0x64, 1)).toBe(4);
  expect(ports.read(0x62, 1)).toBe(0xff);
  expect(memory.read(0xd000_000c, 4)).toBe(12);
});

test("a chip's lock is held while it answers, whichever thread asks", () => {
  const chip = { ...echo(), read: () => (isHeld(machine.part("shy").made.lock) ? 1 : 0) };
  const { machine, ports } = assemble(board(["shy", chipPart(chip), { windows: [port(0)] }]));
  expect(isHeld(machine.part("shy").made.lock)).toBe(false);
  expect(ports.read(0, 1)).toBe(1);
  expect(isHeld(machine.part("shy").made.lock)).toBe(false);
});

test("reset reaches every chip once, also one in several places", () => {
  const resets: string[] = [];
  const chip = (name: string) => ({ ...echo(), reset: () => resets.push(name) && undefined });
  const { machine } = assemble(
    board(
      ["a", chipPart(chip("a")), { windows: [port(0), port(2)] }],
      ["b", chipPart(chip("b")), { windows: [{ space: "memory", address: 0, length: 1 }] }],
    ),
  );
  machine.reset();
  expect(resets).toEqual(["a", "b"]);
});

/** A chip whose level is what was last written to it. */
const levelPart: Part<object> = {
  kind: "level",
  assemble(slot) {
    const line = slot.line();
    return { lock: slot.add({ ...echo(), write: (_offset, _size, value) => line.set(value !== 0) }) };
  },
};

test("a line drives its own input, and only when its level changes", () => {
  const driven: [number, boolean][] = [];
  const { ports } = assemble(
    board(["com1", levelPart, { windows: [port(0)], gsi: 4 }]),
    {},
    { driveIrq: (gsi, level) => driven.push([gsi, level]) },
  );
  for (const level of [0, 1, 1, 0, 0]) ports.write(0, 1, level);
  expect(driven).toEqual([
    [4, true],
    [4, false],
  ]);
});

test("a shared line is asserted while any of its chips asserts it, in every thread", () => {
  const driven: [number, boolean][] = [];
  const shared = board(
    ["a", levelPart, { windows: [port(0)], gsi: 11, sharesLine: true }],
    ["b", levelPart, { windows: [port(1)], gsi: 11, sharesLine: true }],
    ["c", levelPart, { windows: [port(2)], gsi: 10, sharesLine: true }],
  );
  const driveIrq = (gsi: number, level: boolean) => driven.push([gsi, level]);
  const one = assemble(shared, {}, { driveIrq });
  const other = assemble(shared, {}, { driveIrq }, one.buffer);
  one.ports.write(0, 1, 1);
  other.ports.write(1, 1, 1);
  one.ports.write(2, 1, 1);
  other.ports.write(0, 1, 0); // b still asserts it
  one.ports.write(0, 1, 0);
  expect(driven).toEqual([
    [11, true],
    [10, true],
  ]);
  one.ports.write(1, 1, 0);
  expect(driven.at(-1)).toEqual([11, false]);
});

test("a part that the board gave no line cannot have one", () => {
  expect(() => assemble(board(["a", levelPart, { windows: [port(0)] }]))).toThrow("a: the board gives it no");
});

test("state and locks are what two machines over one arena share", () => {
  const Scratch = layout("scratch", 1, { value: "u32" });
  const scratch: Part<object> = {
    kind: "scratch",
    assemble(slot) {
      const regs = slot.take(Scratch);
      const write: IoDevice["write"] = (_offset, _size, value) => {
        regs.value = value;
      };
      return { lock: slot.add({ read: () => regs.value, write, reset() {} }) };
    },
  };
  const one = board(["chip", scratch, { windows: [port(0, 4)] }]);
  const a = assemble(one);
  const b = assemble(one, {}, {}, a.buffer);
  a.ports.write(0, 4, 0x1234_5678);
  expect(b.ports.read(0, 4)).toBe(0x1234_5678);
  a.machine.part("chip").made.lock.acquire();
  expect(isHeld(b.machine.part("chip").made.lock)).toBe(true);
});

test("a part that is not there is asked for in vain, with its name", () => {
  expect(() => assemble(board()).machine.part("vga")).toThrow('the machine has no part "vga"');
});
