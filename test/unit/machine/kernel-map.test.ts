import { expect, test } from "vitest";
import { layout } from "../../../src/base/layout.ts";
import type { Board } from "../../../src/machine/board.ts";
import { kernelMap } from "../../../src/machine/kernel-map.ts";
import type { KernelWishes } from "../../../src/machine/kernel-wishes.ts";
import { type Part, plug } from "../../../src/machine/part.ts";
import { acpiPm } from "../../../src/machine/parts/acpi-pm.ts";
import { debugExit } from "../../../src/machine/parts/debug-exit.ts";
import { serialPort } from "../../../src/machine/parts/serial-port.ts";
import { assemble } from "../../support/assemble.ts";
import { BASE_PORT, MAGIC, movingBoard } from "../../support/moving-board.mjs";

const board = movingBoard({ layout, plug, serialPort, acpiPm, debugExit });
const A = 0xd000_0000;
const B = 0xd080_0000;

test("a window goes where its register says, in every thread, and nothing stays behind", () => {
  const one = assemble(board, {}, { moved: { settle: () => one.generation.bump() } });
  const other = assemble(board, {}, {}, one.buffer, one.generation);
  one.machine.reset();
  for (const base of [A, B, 0, B, A]) {
    one.ports.write(BASE_PORT, 4, base);
    for (const { memory } of [one, other]) {
      for (const address of [A, B])
        expect(memory.read(address, 4)).toBe(address === base ? MAGIC : 0xffff_ffff);
      expect(memory.windows.map(({ address }) => address)).toEqual(base === 0 ? [] : [base]);
    }
  }
});

test("what KVM should have follows the same register", () => {
  const { machine, ports } = assemble(board);
  machine.reset();
  const ram = { memory: "ram", offset: 0, address: 0, size: 2 ** 24, readOnly: false };
  expect(kernelMap(machine)).toEqual({ slots: [ram], doorbells: [], messages: [] });
  ports.write(BASE_PORT, 4, A);
  expect(kernelMap(machine)).toEqual({
    slots: [ram, { memory: "vram", offset: 0, address: A + 0x1000, size: 0x1000, readOnly: false }],
    doorbells: [{ bell: 0, address: A + 0x800, length: 4 }],
    messages: [],
  });
});

test("memory and a window that the guest moves over others are not there", () => {
  const one = assemble(board, {}, { moved: { settle: () => one.generation.bump() } });
  one.machine.reset();
  one.ports.write(BASE_PORT, 4, 0x10_0000); // RAM
  expect(kernelMap(one.machine).slots.map(({ memory }) => memory)).toEqual(["ram"]);
  const wishes: KernelWishes = {
    doorbells: [
      { bell: 0, address: A, length: 4, datamatch: 1 },
      { bell: 1, address: A, length: 4, datamatch: 2 },
      { bell: 2, address: A, length: 4, datamatch: 1 },
      { bell: 3, address: 0x10, length: 4, datamatch: 1, port: true },
    ],
  };
  const part: Part<object> = {
    kind: "bells",
    assemble: (slot) => ({ lock: slot.add({ read: () => 0, write() {}, reset() {} }), kernel: () => wishes }),
  };
  const bells: Board = { name: "bells", parts: () => [plug(part, "bells", { windows: [] }, {})] };
  expect(kernelMap(assemble(bells).machine).doorbells.map(({ bell }) => bell)).toEqual([0, 1, 3]);
});
