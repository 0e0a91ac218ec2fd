/**
 * Three ways to run a guest: interpreted, paravirtualized, assisted by hardware.
 *
 * One program runs once in an interpreter written in TypeScript and twice on KVM, each time with
 * the same two devices. Then comes the paravirtual call that KVM answers by itself.
 *
 * Guests: three-ways.s, three-ways-vmcall.s. Source: Popek and Goldberg, "Formal Requirements
 * for Virtualizable Third Generation Architectures" (1974).
 */
import { exitName, KVM_EXIT_HLT, KVM_EXIT_IO } from "vmexit/kvm";
import { bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { startFlat } from "./flat-mode.ts";
import { Guest } from "./guest.ts";
import { duration, heading, median, now, table } from "./print.ts";
import { Interpreter, type Ports } from "./three-ways-interpreter.ts";
import { hypercalls } from "./three-ways-vmcall.ts";

const ROUNDS = 5; // the first is slow: pages are not allocated, code is not compiled
const MAX_INSTRUCTIONS = 1_000_000;
const RAM_SIZE = 64 * 1024;
const STACK = 0x1000;
const ESI = 6; // the number of the register in instructions
const ECX = 1;

interface Round {
  readonly text: string;
  /** Accesses of the guest to the monitor's devices. */
  readonly accesses: number;
  /** Nanoseconds. */
  readonly time: number;
}

/** The monitor's side of both ways to print: a serial port that is always ready, and a hypercall. */
class Printer implements Ports {
  text = "";
  accesses = 0;
  readonly #guest: Guest;
  readonly #memory: Uint8Array;
  readonly #argument: () => [address: number, length: number];

  /** @param argument returns the guest's ESI and ECX */
  constructor(guest: Guest, memory: Uint8Array, argument: () => [address: number, length: number]) {
    this.#guest = guest;
    this.#memory = memory;
    this.#argument = argument;
  }

  in(port: number): number {
    this.accesses++;
    if (port === this.#guest.symbol("LSR")) return this.#guest.symbol("LSR_THRE");
    if (port !== this.#guest.symbol("HYPERCALL_PORT")) return 0xff;
    const [address, length] = this.#argument();
    this.text += Buffer.from(this.#memory.subarray(address, address + length)).toString("latin1");
    return length;
  }

  out(port: number, value: number): void {
    this.accesses++;
    if (port === this.#guest.symbol("THR")) this.text += String.fromCharCode(value);
  }
}

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("three-ways");
  const emulated = interpret(guest, guest.entry);
  const assisted = onKvm(guest, guest.entry);
  const paravirtualized = onKvm(guest, guest.symbol("start_paravirt"));
  // KVM does not count instructions; the interpreter does, for the same programs.
  const counted = interpret(guest, guest.symbol("start_paravirt")).instructions;

  const row = (
    way: string,
    round: Round,
    instructions: number,
    returns: number | string,
    changed: string,
  ) => [
    way,
    instructions,
    round.accesses,
    returns,
    duration(round.time),
    duration(round.time / instructions),
    changed,
  ];
  out(
    `The guest, all three times: ${[emulated, assisted, paravirtualized].map(({ text }) => text.trim()).join(" | ")}`,
  );
  heading(out, `Three ways to run it (medians of ${ROUNDS} rounds)`);
  table(out, [
    ["", "instructions", "port accesses", "KVM_RUNs", "time", "per instruction", "changed in the guest"],
    row("emulated", emulated, emulated.instructions, "no KVM", "nothing"),
    row("paravirtualized", paravirtualized, counted, paravirtualized.returns, "its way to print"),
    row("hardware-assisted", assisted, emulated.instructions, assisted.returns, "nothing"),
  ]);
  out("");
  const bytes = (from: string, to: string) => guest.symbol(to) - guest.symbol(from);
  out(`Changed: print_serial, a driver of ${bytes("print_serial", "print_hypercall")} bytes, became`);
  out(
    `print_hypercall, ${bytes("print_hypercall", "print_end")} bytes, which asks the monitor to print the whole text at once.`,
  );
  const compute = paravirtualized.time / counted;
  if (compute > emulated.time / emulated.instructions) {
    out("");
    out("Here the interpreter is faster than KVM. So this KVM has no VT-x or AMD-V behind it, and emulates");
    out("ring 0 itself.");
  }
  hypercalls(out);
}

/** Fully emulated: no KVM anywhere. */
function interpret(guest: Guest, entry: number): Round & { instructions: number } {
  const memory = new Uint8Array(RAM_SIZE);
  return medianRound(() => {
    memory.fill(0);
    memory.set(guest.bytes, guest.origin);
    const printer = new Printer(guest, memory, () => [processor.registers[ESI], processor.registers[ECX]]);
    const processor = new Interpreter(memory, entry, STACK, printer);
    const began = now();
    if (!processor.run(MAX_INSTRUCTIONS)) throw new Error("the guest does not end");
    const { text, accesses } = printer;
    return { text, accesses, time: now() - began, instructions: processor.instructions };
  });
}

/** On KVM: on the processor, unless KVM emulates ring 0. */
function onKvm(guest: Guest, entry: number): Round & { returns: number } {
  using machine = bareMachine(guest, { ramSize: RAM_SIZE });
  const { cpu, memory } = machine;
  return medianRound(() => {
    memory.set(guest.bytes, guest.origin);
    startFlat(cpu, entry);
    const printer = new Printer(guest, memory, () => {
      const { rsi, rcx } = cpu.getRegs();
      return [Number(rsi), Number(rcx)];
    });
    const began = now();
    for (let returns = 1; ; returns++) {
      const reason = cpu.run();
      const { io } = cpu.exit;
      if (reason === KVM_EXIT_HLT) {
        const { text, accesses } = printer;
        return { text, accesses, time: now() - began, returns };
      }
      if (reason !== KVM_EXIT_IO) throw new Error(`unexpected exit ${exitName(reason)}`);
      if (io.isWrite) printer.out(io.port, io.get(0));
      else io.put(0, printer.in(io.port));
    }
  });
}

/** Runs some rounds, which all do the same, and returns the one with the median time. */
function medianRound<R extends Round>(round: () => R): R {
  const rounds = Array.from({ length: ROUNDS }, round);
  const time = median(rounds.map((each) => each.time));
  return rounds.find((each) => each.time === time) ?? rounds[0];
}
