/**
 * A small debugger: single steps, breakpoints of two kinds, a watchpoint.
 *
 * KVM_SET_GUEST_DEBUG makes KVM_RUN return KVM_EXIT_DEBUG after each instruction,
 * or at addresses that are in the debug registers. The guest does not notice.
 *
 * Guest: step.s. Source: Linux api.rst, 4.87 KVM_SET_GUEST_DEBUG; Intel SDM volume 3,
 * chapter "Debug, Branch Profile, TSC, and Intel Resource Director Technology".
 */
import {
  exitName,
  KVM_EXIT_DEBUG,
  KVM_EXIT_HLT,
  KVM_EXIT_INTERNAL_ERROR,
  KVM_EXIT_SHUTDOWN,
  type Regs,
} from "vmexit/kvm";
import { type BareMachine, bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { disassemble } from "./disassembly.ts";
import { startFlat } from "./flat-mode.ts";
import { Guest } from "./guest.ts";
import { duration, heading, hex, median, now, table } from "./print.ts";

const HLT = 0xf4;
const INT3 = 0xcc;
const MAX_STOPS = 200; // ends a guest that does not end by itself

// DR7: bit 0 enables the breakpoint in DR0; bits 16-17 say on which access, 18-19 how many bytes.
const DR7_EXECUTE_DR0 = 0x1n;
const DR7_WRITE_4_DR0 = 0x1n | (0b1101n << 16n);

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("step");
  singleSteps(guest, out);
  breakpoint(guest, out);
  softwareBreakpoint(guest, out);
  watchpoint(guest, out);
}

/** Prints every instruction: its address, its text, what it changed. */
function singleSteps(guest: Guest, out: Out): void {
  using machine = machineOf(guest);
  const { cpu, memory } = machine;
  cpu.setGuestDebug({ singleStep: true });

  const rows: (string | number)[][] = [["step", "EIP", "bytes", "disassembled", "step.s says", "changed"]];
  const times: number[] = [];
  for (let step = 1; step <= MAX_STOPS; step++) {
    const before = cpu.getRegs();
    const at = Number(before.rip);
    const entered = now();
    const reason = cpu.run();
    times.push(now() - entered);
    const { bytes, text } = disassemble(memory, at, 32);
    rows.push([step, hex(at, 4), bytes, text, guest.sourceAt(at) ?? "", changes(before, cpu.getRegs())]);
    // Hardware reports HLT here, an emulating KVM reports the step: check what was executed.
    if (memory[at] === HLT) break;
    expect(reason, KVM_EXIT_DEBUG);
  }

  using free = machineOf(guest);
  const entered = now();
  expect(free.cpu.run(), KVM_EXIT_HLT);
  const unwatched = now() - entered;

  heading(out, "Every instruction, by single step");
  table(out, rows);
  out("");
  out(
    `${times.length} instructions, ${times.length} returns of KVM_RUN: ${duration(median(times))} each (median).`,
  );
  out(
    `Without single step, the same guest takes one KVM_RUN of ${duration(unwatched)}, the machine's first.`,
  );
}

/** A breakpoint at the head of the loop, in a debug register. */
function breakpoint(guest: Guest, out: Out): void {
  using machine = machineOf(guest);
  const { cpu } = machine;
  const hardware = { addresses: [BigInt(guest.symbol("gcd"))], dr7: DR7_EXECUTE_DR0 };
  cpu.setGuestDebug({ hardware });

  heading(out, `A breakpoint at gcd (${hex(guest.symbol("gcd"), 4)}), in DR0`);
  const rows = [["hit", "EIP", "EAX", "EBX"]];
  for (let hit = 1; hit <= MAX_STOPS; hit++) {
    const reason = cpu.run();
    if (reason === KVM_EXIT_HLT) break;
    expect(reason, KVM_EXIT_DEBUG);
    const { rax, rbx } = cpu.getRegs();
    rows.push([`${hit}`, hex(cpu.exit.debugPc, 4), `${rax}`, `${rbx}`]);
    // It stopped before the instruction. One step without the breakpoint gets past it.
    cpu.setGuestDebug({ singleStep: true });
    expect(cpu.run(), KVM_EXIT_DEBUG);
    cpu.setGuestDebug({ hardware });
  }
  if (rows.length === 1) {
    out(
      `HLT without a stop; the divisor is ${result(machine, guest)}. So the processor itself is emulated here, and`,
    );
    out("its emulator does not implement debug registers for a guest.");
    return;
  }
  table(out, rows);
  out("");
  out(`The loop ran ${rows.length - 1} times; the divisor is ${result(machine, guest)}.`);
}

/** A software breakpoint: INT3 in the place of an instruction. */
function softwareBreakpoint(guest: Guest, out: Out): void {
  using machine = machineOf(guest);
  const { cpu, memory } = machine;
  const at = guest.symbol("done");
  const original = memory[at];
  memory[at] = INT3;
  cpu.setGuestDebug({ softwareBreakpoints: true });

  heading(out, `A breakpoint at done (${hex(at, 4)}), an INT3 (0xcc) over the byte ${hex(original, 2)}`);
  const reason = cpu.run();
  if (reason === KVM_EXIT_INTERNAL_ERROR) {
    out("INTERNAL_ERROR: this KVM emulates the guest's ring 0, and its emulator does not support INT3.");
    return;
  }
  if (reason === KVM_EXIT_SHUTDOWN) {
    out("SHUTDOWN: the exception was delivered to the guest, which has no handlers. So the processor itself");
    out("is emulated here, and its emulator does not intercept INT3 for KVM.");
    return;
  }
  expect(reason, KVM_EXIT_DEBUG);
  out(`DEBUG at ${hex(cpu.exit.debugPc, 4)}, exception ${cpu.exit.debugException} (#BP).`);
  memory[at] = original; // and the guest continues as without a breakpoint
  cpu.setGuestDebug({});
  out(`With the byte restored: ${exitName(cpu.run())}; the divisor is ${result(machine, guest)}.`);
}

/** A stop after the instruction that writes `result`. */
function watchpoint(guest: Guest, out: Out): void {
  using machine = machineOf(guest);
  const { cpu } = machine;
  const at = guest.symbol("result");
  cpu.setGuestDebug({ hardware: { addresses: [BigInt(at)], dr7: DR7_WRITE_4_DR0 } });

  heading(out, `A watchpoint on result (${hex(at, 4)}), in DR0`);
  const reason = cpu.run();
  if (reason === KVM_EXIT_DEBUG) {
    const pc = Number(cpu.exit.debugPc);
    out(`DEBUG at ${hex(pc, 4)}, after the instruction that wrote ${result(machine, guest)}.`);
    return;
  }
  expect(reason, KVM_EXIT_HLT);
  out(
    `HLT, and ${result(machine, guest)} was written without a stop. Either KVM emulates the guest's ring 0 here, and`,
  );
  out("its emulator checks only for breakpoints on instructions, or the processor itself is emulated.");
}

function machineOf(guest: Guest): BareMachine {
  const machine = bareMachine(guest);
  startFlat(machine.cpu, guest.entry);
  return machine;
}

function result({ memory }: BareMachine, guest: Guest): number {
  return memory[guest.symbol("result")];
}

function expect(reason: number, wanted: number): void {
  if (reason !== wanted) throw new Error(`unexpected exit ${exitName(reason)}, not ${exitName(wanted)}`);
}

/** `eax 48 → 12, flags CF`: what an instruction changed. */
function changes(before: Regs, after: Regs): string {
  const changed = (["rax", "rbx", "rsp"] as const)
    .filter((name) => before[name] !== after[name])
    .map((name) => `e${name.slice(1)} ${before[name]} → ${after[name]}`);
  if (flags(before) !== flags(after)) changed.push(`flags ${flags(after) || "none"}`);
  return changed.join(", ");
}

/** The flags that are set, of those that a comparison changes. */
function flags({ rflags }: Regs): string {
  const bits = { CF: 0x01n, ZF: 0x40n, SF: 0x80n };
  return Object.entries(bits)
    .filter(([, bit]) => (rflags & bit) !== 0n)
    .map(([name]) => name)
    .join(" ");
}
