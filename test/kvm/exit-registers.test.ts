/** Registers that come with an exit, and those that KVM is asked for: the same. */
import { expect, test } from "vitest";
import { COPIED_REGISTERS } from "../../src/kvm/exit-registers.ts";
import { CPU_MODES, REGISTER_NAMES } from "../../src/trace/format.ts";
import { tinyGuest } from "../support/tiny-guest.ts";

/** mov al, 0x48; out 0x80, al; out 0x80, al; hlt: the same bytes in both modes. */
const CODE = [0xb0, 0x48, 0xe6, 0x80, 0xe6, 0x80, 0xf4];

test.each(["real", "long"] as const)("in %s mode", (mode) => {
  using guest = tinyGuest(CODE, { mode });
  const { cpu, vm } = guest;
  const synced = (vm.checkExtension("SYNC_REGS") & 3) === 3;
  const found = [synced, false].map((sync) => {
    const registers = cpu.exitRegisters(sync);
    registers.start();
    cpu.run();
    registers.update(true);
    const words = new Uint32Array(2 * COPIED_REGISTERS);
    registers.copy(words, 0);
    registers.stop();
    const { linearRip } = registers;
    return { registers: new BigUint64Array(words.buffer), mode: CPU_MODES[registers.mode], linearRip };
  });
  // The guest has gone on by one instruction, and nothing else.
  const [first, second] = found;
  expect([first.mode, second.mode]).toEqual([mode, mode]);
  expect(second.linearRip - first.linearRip).toBe(2n);
  const rip = REGISTER_NAMES.indexOf("rip");
  for (const [n, name] of REGISTER_NAMES.entries()) {
    expect([name, second.registers[n]]).toEqual([name, first.registers[n] + (n === rip ? 2n : 0n)]);
  }
  const { rax, rip: now } = cpu.getRegs();
  const { cr0, efer, cs } = cpu.getSregs();
  const value = (name: (typeof REGISTER_NAMES)[number]) => second.registers[REGISTER_NAMES.indexOf(name)];
  expect([value("rax"), value("rip")]).toEqual([rax, now]);
  expect([value("cr0"), value("efer"), value("cs")]).toEqual([cr0, efer, BigInt(cs.selector)]);
});
