/**
 * What a PCI bus will need, before there is one: a window, a piece of memory and
 * a doorbell that one CPU of a running guest moves, again and again, while the
 * other CPU uses them. The board is the test's own; its threads load it from a
 * module, so this runs what `npm run build` made.
 */
import { expect, test } from "vitest";
import type { Hardware } from "../../src/vm/hardware.ts";
import type { PowerCycleListener } from "../../src/vm/power-cycle.ts";
import { BASE_PORT, DOORBELL, MAGIC, VRAM } from "../support/moving-board.mjs";

const DIST = new URL("../../dist/", import.meta.url).href;
const MODULE = new URL("../support/moving-board-module.mjs", import.meta.url).href;

const A = 0xd000_0000;
const B = 0xd080_0000;
const ONES = 0xffff_ffff;
const MOVES = 100;
/** RAM: what each CPU counts, and where the second one says that it saw what cannot be. */
const COUNT = 0x5000;
const WRONG = 0x5004;

const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const loadEax = (address: number) => [0xa1, ...dword(address)]; // mov eax, [address]
const setEax = (value: number) => [0xb8, ...dword(value)]; // mov eax, value
const storeEax = (address: number) => [0xa3, ...dword(address)]; // mov [address], eax
const compareEax = (value: number) => [0x3d, ...dword(value)]; // cmp eax, value
const out = (port: number) => [0x66, 0xba, port & 0xff, port >> 8, 0xef]; // mov dx, port; out dx, eax
const exit = (status: number) => [...setEax(status), ...out(0xf4)];
const increment = (address: number) => [0xf0, 0xff, 0x05, ...dword(address)]; // lock inc dword [address]
/** Runs `code` if the comparison before it found a difference. */
const ifNotEqual = (code: readonly number[]) => [0x74, code.length, ...code]; // je over it

const expectAt = (address: number, value: number, wrong: number) => [
  ...loadEax(address),
  ...compareEax(value),
  ...ifNotEqual(exit(wrong)),
];

/** Moves everything to `here` and sees it there, with what was left in the memory, and nothing at `there`. */
const moveTo = (here: number, there: number, kept: number) => [
  ...[...setEax(here), ...out(BASE_PORT)],
  ...expectAt(here, MAGIC, 1),
  ...expectAt(there, ONES, 2),
  ...expectAt(there + VRAM, ONES, 3),
  ...expectAt(here + VRAM, kept, 4),
  ...[...setEax(here), ...storeEax(here + VRAM)],
  ...storeEax(here + DOORBELL),
];

/** mov ecx, MOVES; there and back, until ecx is 0; then waits until the other CPU has counted, and ends. */
function mover(): number[] {
  const body = [...moveTo(B, A, A), ...moveTo(A, B, B), 0x49]; // dec ecx
  const loop = [...body, 0x0f, 0x85, ...dword(-(body.length + 6))]; // jnz body
  const wait = [...loadEax(COUNT), ...compareEax(MOVES), 0x72, -(5 + 5 + 2) & 0xff]; // jb wait
  const first = [...setEax(A), ...out(BASE_PORT), ...storeEax(A + VRAM)];
  const checked = [...loadEax(WRONG), ...compareEax(0), ...ifNotEqual(exit(5))];
  return [...first, 0xb9, ...dword(MOVES), ...loop, ...wait, ...checked, ...exit(0x15), 0xf4];
}

/** Reads both places for ever: each is the device, or nothing. */
function reader(): number[] {
  const look = (address: number) => [
    ...[...loadEax(address), ...compareEax(MAGIC)],
    ...ifNotEqual([...compareEax(ONES), ...ifNotEqual(increment(WRONG))]),
  ];
  const body = [...look(A), ...look(B), ...increment(COUNT)];
  return [...body, 0xe9, ...dword(-(body.length + 5))];
}

const FLAT = { selector: 0, base: 0, limit: 0xffff_ffff, s: 1, present: 1, g: 1, dpl: 0, unusable: 0, l: 0 };
const CODE = { ...FLAT, type: 0xb, db: 1 };
const DATA = { ...FLAT, type: 3, db: 1 };
const RUNNABLE = 0;

/** Both CPUs in protected mode, without paging, each at its code. */
function enter({ memory, vcpus }: Hardware): string {
  for (const [index, code] of [mover(), reader()].entries()) {
    const rip = 0x1000 * (index + 1);
    memory.write(rip, Uint8Array.from(code));
    vcpus[index].changeSregs({ cr0: 0x11, cs: CODE, ds: DATA, es: DATA, ss: DATA, fs: DATA, gs: DATA });
    vcpus[index].changeRegs({ rip, rsp: 0xf000, rflags: 2 });
    vcpus[index].setMpState(RUNNABLE);
  }
  return "test";
}

test("a window, memory and a doorbell move under a running guest of two CPUs, and are nowhere else", async () => {
  const { PowerCycle } = await import(`${DIST}vm/power-cycle.js`);
  const { loadBoard } = await import(`${DIST}machine/load-board.js`);
  const { ramRegions } = await import(`${DIST}machine/memory-map.js`);
  const { checkOptions } = await import(`${DIST}vm/validate.js`);
  const { Drives } = await import(`${DIST}vm/drives.js`);
  const options = checkOptions({ kernel: "none", memory: "1M", cpus: 2 });
  const spec = {
    board: MODULE,
    cpus: 2,
    ram: ramRegions(2 ** 20),
    serialPorts: 1,
    pit: false,
    devices: [],
    own: [],
  };
  let hardware: Hardware | undefined;
  const origin = {
    fill(made: Hardware) {
      hardware = made;
      return enter(made);
    },
  };
  let resolve: PowerCycleListener["ending"] = () => {};
  const ended = new Promise((done) => {
    resolve = done;
  });
  const nothing = () => {};
  const listener: PowerCycleListener = {
    ending: (ending, cycle) => resolve(ending, cycle),
    ...{
      debug: nothing,
      output: nothing,
      ready: nothing,
      report: nothing,
      unclaimed: nothing,
      closing: nothing,
    },
  };
  const cycle = new PowerCycle(
    await loadBoard(MODULE, []),
    spec,
    options,
    await Drives.open([]),
    origin,
    listener,
  );
  try {
    cycle.run();
    expect(await ended).toEqual({ reason: "exit", status: (0x15 << 1) | 1 });
    expect(hardware?.bells[0].take()).toBe(2 * MOVES);
    expect(cycle.memory.slots.map(({ guestPhysAddr }: { guestPhysAddr: number }) => guestPhysAddr)).toEqual([
      0,
      A + VRAM,
    ]);
  } finally {
    await cycle.end(nothing);
  }
});
