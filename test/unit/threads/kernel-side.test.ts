import { expect, test } from "vitest";
import { layout } from "../../../src/base/layout.ts";
import type { Board } from "../../../src/machine/board.ts";
import type { KernelWishes } from "../../../src/machine/kernel-wishes.ts";
import { type Part, plug } from "../../../src/machine/part.ts";
import { acpiPm } from "../../../src/machine/parts/acpi-pm.ts";
import { debugExit } from "../../../src/machine/parts/debug-exit.ts";
import { serialPort } from "../../../src/machine/parts/serial-port.ts";
import { EventFd } from "../../../src/sys/event.ts";
import { GuestRam } from "../../../src/sys/guest-ram.ts";
import { type KernelObjects, KernelSide } from "../../../src/threads/kernel-side.ts";
import { KernelTable } from "../../../src/threads/kernel-table.ts";
import { assemble } from "../../support/assemble.ts";
import { BASE_PORT, movingBoard } from "../../support/moving-board.mjs";

/** A KVM that writes down what it is asked. */
function recorder() {
  const calls: string[] = [];
  const hex = (number: number) => `0x${number.toString(16)}`;
  const vm: KernelObjects["vm"] = {
    setUserMemoryRegion: ({ slot, address, size, readOnly, logDirtyPages }) => {
      const flags = `${readOnly ? " read-only" : ""}${logDirtyPages ? " logged" : ""}`;
      calls.push(`slot ${slot} at ${hex(address)} of ${hex(size ?? 0)}${flags}`);
    },
    deleteMemorySlot: (slot) => void calls.push(`delete slot ${slot}`),
    ioeventfd: (_event, { address, datamatch }) => void calls.push(`bell at ${hex(address)} = ${datamatch}`),
    removeIoeventfd: (_event, { address }) => void calls.push(`no bell at ${hex(address)}`),
    setGsiRouting: (routes) => {
      const messages = routes.filter((route) => "msiAddress" in route);
      calls.push(`${routes.length - messages.length} pins, messages ${messages.map(({ gsi }) => gsi)}`);
    },
  };
  const taken = () => calls.splice(0);
  return { vm, taken };
}

const memories = new Map(["ram", "vram", "rom"].map((name) => [name, GuestRam.create(2 ** 16)]));
const bell = EventFd.create();
const newTable = () => new KernelTable(new Int32Array(new SharedArrayBuffer(4 * KernelTable.WORDS)));

test("a move takes away what was there, then brings it where it is now", () => {
  const { vm, taken } = recorder();
  const board = movingBoard({ layout, plug, serialPort, acpiPm, debugExit });
  const { machine, ports } = assemble(board);
  machine.reset();
  const table = newTable();
  const kernel = new KernelSide({ vm, memories, bell: () => bell }, table);
  kernel.reconcile(machine);
  expect(taken()).toEqual(["slot 0 at 0x0 of 0x1000000"]);
  kernel.reconcile(machine);
  expect(taken()).toEqual([]);
  ports.write(BASE_PORT, 4, 0xd000_0000);
  kernel.reconcile(machine);
  expect(taken()).toEqual(["slot 1 at 0xd0001000 of 0x1000", "bell at 0xd0000800 = undefined"]);
  // Another thread moves it on: what KVM has is in shared memory.
  ports.write(BASE_PORT, 4, 0xd080_0000);
  new KernelSide({ vm, memories, bell: () => bell }, table).reconcile(machine);
  expect(taken()).toEqual([
    "delete slot 1",
    "slot 1 at 0xd0801000 of 0x1000",
    "no bell at 0xd0000800",
    "bell at 0xd0800800 = undefined",
  ]);
  expect(kernel.slots.map(({ slot, guestPhysAddr }) => [slot, guestPhysAddr])).toEqual([
    [0, 0],
    [1, 0xd080_1000],
  ]);
  ports.write(BASE_PORT, 4, 0);
  kernel.reconcile(machine);
  expect(taken()).toEqual(["delete slot 1", "no bell at 0xd0800800"]);
});

/** A board whose one part wishes what the test wants. */
function wishing(wishes: () => KernelWishes, bells = 0) {
  const part: Part<object> = {
    kind: "wishes",
    assemble: (slot) => {
      slot.bells(bells);
      return { lock: slot.add({ read: () => 0, write() {}, reset() {} }), kernel: wishes };
    },
  };
  const board: Board = { name: "wishing", parts: () => [plug(part, "wishes", { windows: [] }, {})] };
  return assemble(board).machine;
}

test("pages of RAM that is taken away while they are logged count as written", () => {
  const { vm } = recorder();
  let moved = false;
  const machine = wishing(() => ({
    slots: moved
      ? []
      : [{ memory: "ram", offset: 0x4000, address: 0x4000_0000, size: 0x2000, readOnly: false }],
  }));
  const marked: number[][] = [];
  const dirty = { on: true, mark: (offset: number, length: number) => void marked.push([offset, length]) };
  const kernel = new KernelSide({ vm, memories, bell: () => bell }, newTable(), dirty);
  kernel.logDirtyPages(machine, true);
  moved = true;
  kernel.reconcile(machine);
  expect(marked).toEqual([[0x4000, 0x2000]]);
});

test("dirty pages are logged of RAM alone, and the slots keep their numbers", () => {
  const { vm, taken } = recorder();
  const machine = wishing(() => ({
    slots: [{ memory: "rom", offset: 0, address: 0xe000_0000, size: 0x1000, readOnly: true }],
  }));
  const kernel = new KernelSide({ vm, memories, bell: () => bell }, newTable());
  kernel.reconcile(machine);
  expect(taken()).toEqual(["slot 0 at 0x0 of 0x1000000", "slot 1 at 0xe0000000 of 0x1000 read-only"]);
  kernel.logDirtyPages(machine, true);
  expect(taken()).toEqual(["slot 0 at 0x0 of 0x1000000 logged"]);
  expect(kernel.slots.map(({ flags }) => flags)).toEqual([1, 2]);
  kernel.logDirtyPages(machine, false);
  expect(taken()).toEqual(["slot 0 at 0x0 of 0x1000000"]);
});

test("two doorbells may change places, and one that changes its value is placed anew", () => {
  const { vm, taken } = recorder();
  let at = [0x1000, 0x2000];
  const machine = wishing(
    () => ({
      doorbells: at.map((address, n) => ({ bell: n, address, length: 4, datamatch: at[0] })),
    }),
    2,
  );
  const kernel = new KernelSide({ vm, memories, bell: () => bell }, newTable());
  kernel.reconcile(machine);
  taken();
  at = [0x2000, 0x1000];
  kernel.reconcile(machine);
  expect(taken()).toEqual([
    "no bell at 0x1000",
    "no bell at 0x2000",
    "bell at 0x2000 = 8192",
    "bell at 0x1000 = 8192",
  ]);
});

test("messages are routed beside the pins, and only when they change", () => {
  const { vm, taken } = recorder();
  const address = 0xfee0_0000;
  let messages = [{ gsi: 24, address, data: 0x41 }];
  const machine = wishing(() => ({ messages }));
  const kernel = new KernelSide({ vm, memories, bell: () => bell }, newTable());
  kernel.reconcile(machine);
  expect(taken().at(-1)).toBe("39 pins, messages 24");
  kernel.reconcile(machine);
  expect(taken()).toEqual([]);
  messages = [...messages, { gsi: 25, address, data: 0x42 }];
  kernel.reconcile(machine);
  messages = [];
  kernel.reconcile(machine);
  expect(taken()).toEqual(["39 pins, messages 24,25", "39 pins, messages "]);
});

test("memory that this KVM cannot show is left out", () => {
  const { vm, taken } = recorder();
  const machine = wishing(() => ({
    slots: [{ memory: "flash", offset: 0, address: 0xe000_0000, size: 0x1000, readOnly: true }],
  }));
  new KernelSide({ vm, memories, bell: () => bell }, newTable()).reconcile(machine);
  expect(taken()).toEqual(["slot 0 at 0x0 of 0x1000000"]);
});

test("a part can have no doorbell but those that it took", () => {
  const { vm, taken } = recorder();
  const machine = wishing(() => ({ doorbells: [{ bell: 2, address: 0x1000, length: 4 }] }), 2);
  const kernel = new KernelSide({ vm, memories, bell: () => bell }, newTable());
  expect(() => kernel.reconcile(machine)).toThrow("a part wants bell 2; the machine has 2");
  expect(taken()).toEqual(["slot 0 at 0x0 of 0x1000000"]);
});
