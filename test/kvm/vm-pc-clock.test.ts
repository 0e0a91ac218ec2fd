/** The clock of a PC: its interrupts reach a guest that sleeps, also after it was saved and restored. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { restoreVm, type VirtualMachine } from "vmexit";
import { exitWith, flatMachine } from "../support/flat-machine.ts";

const IRQ8_VECTOR = 4 * 0x70;
const CODE_SEGMENT = 0x100;
const word = (value: number) => [value & 0xff, value >> 8];
const writeCmos = (index: number, value: number) => [0xb0, index, 0xe6, 0x70, 0xb0, value, 0xe6, 0x71];
const READ_C = [0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71];
const out = (port: number, value: number) => [0xb0, value, 0xe6, port];

/** Enables those interrupts, prints register C of each, and ends after `count` of them. */
function clockGuest(enable: number, count: number): number[] {
  const handler = [
    ...[...READ_C, 0xba, ...word(0x3f8), 0xee], // out dx, al
    ...[...out(0xa0, 0x20), ...out(0x20, 0x20)], // end of interrupt
    ...[0x49, 0x74, 0x01, 0xcf], // dec cx; jz over iret; iret
    ...exitWith(0),
  ];
  const begin = (at: number) => [
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8], // cli; ds = 0
    ...[0xc7, 0x06, ...word(IRQ8_VECTOR), ...word(at), 0xc7, 0x06, ...word(IRQ8_VECTOR + 2)],
    ...[...word(CODE_SEGMENT), ...writeCmos(0x0a, 0x2d)], // 8 Hz
    // Enabled last: the interrupt controller remembers an interrupt although register C is read before it is taken.
    ...[...READ_C, ...writeCmos(0x0b, 0x02 | enable)],
    ...[...out(0xa1, 0xfe), ...out(0x21, 0xfb)], // the clock, and the cascade
    ...[0xb9, ...word(count), 0xfb, 0xf4, 0xeb, 0xfd], // mov cx, count; sti; hlt; jmp hlt
  ];
  const { length } = begin(0);
  return [...begin(length), ...handler];
}

function collect(vm: VirtualMachine): number[] {
  const flags: number[] = [];
  vm.serial.on("data", (chunk: Buffer) => flags.push(...chunk));
  return flags;
}

test("a guest that sleeps gets periodic and update interrupts on IRQ 8", async () => {
  await using vm = await flatMachine(clockGuest(0x50, 20), { machine: "pc" });
  const flags = collect(vm);
  await vm.start();
  expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
  expect(flags.length).toBe(20);
  for (const c of flags) expect(c & 0x80).toBe(0x80);
  expect(flags.filter((c) => c & 0x40).length).toBeGreaterThan(10);
  const updates = flags.filter((c) => c & 0x10).length;
  expect(updates).toBeGreaterThanOrEqual(1);
  expect(updates).toBeLessThan(10);
}, 60_000);

test("a clock that was saved while it waits goes on interrupting where it is restored", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-clock-"));
  try {
    const dir = join(folder, "snapshot");
    {
      await using vm = await flatMachine(clockGuest(0x40, 16), { machine: "pc" });
      const flags = collect(vm);
      await vm.start();
      while (flags.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
      await vm.snapshot({ dir });
    }
    await using vm = await restoreVm(dir);
    const flags = collect(vm);
    await vm.resume();
    expect(await vm.exited).toEqual({ reason: "exit", status: 1 });
    expect(flags.length).toBeGreaterThan(3);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 60_000);
