/**
 * One guest on its way from real mode through protected mode to long mode, with
 * CR0, EFER and CS at each step: as the guest reads them, and as KVM returns them,
 * including the hidden part of CS.
 *
 * Guest: modes.s. Source: Intel SDM volume 3, 2.2 "Modes of Operation", 2.5
 * "Control Registers"; api.rst, 4.13 KVM_GET_SREGS.
 */
import { exitName, KVM_EXIT_HLT, KVM_EXIT_IO, type Sregs } from "vmexit/kvm";
import { bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { Guest } from "./guest.ts";
import { heading, hex, table } from "./print.ts";

const CR0_PE = 1n << 0n;
const EFER_LMA = 1n << 10n;

const CR0_BITS = { PE: 0, MP: 1, EM: 2, TS: 3, ET: 4, NE: 5, WP: 16, AM: 18, NW: 29, CD: 30, PG: 31 };
const EFER_BITS = { SCE: 0, LME: 8, LMA: 10, NXE: 11 };

/** The guest's action before each of its reports. */
const STEPS = [
  "power-on",
  "CR0.PE set",
  "far jump: CS loaded from the GDT",
  "CR4.PAE, CR3, EFER.LME set",
  "CR0.PG set: the CPU sets EFER.LMA",
  "far jump: CS with the L bit",
];

export async function demo(out: Out): Promise<void> {
  const guest = new Guest("modes");
  using machine = bareMachine(guest);
  const { cpu, kvm } = machine;
  // CPUID defines what a CPU can do: without its bit for long mode, KVM refuses to set EFER.LME.
  cpu.setCpuid(kvm.supportedCpuid());
  const [portCr0, portEfer, portCs, portWord] = ["PORT_CR0", "PORT_EFER", "PORT_CS", "PORT_WORD"].map(
    (name) => guest.symbol(name),
  );

  /** The guest's last write to each port: its own view. */
  const reported = new Map<number, number>();
  const words: number[] = [];
  const steps: { sregs: Sregs; agrees: boolean }[] = [];
  let reason = cpu.run();
  for (; reason === KVM_EXIT_IO; reason = cpu.run()) {
    const { io } = cpu.exit;
    reported.set(io.port, io.get(0));
    if (io.port === portWord) words.push(io.get(0));
    if (io.port !== portCs) continue;
    const sregs = cpu.getSregs();
    const guestView = [reported.get(portCr0), reported.get(portEfer), reported.get(portCs)].map(Number);
    const outsideView = [sregs.cr0, sregs.efer, sregs.cs.selector].map(Number);
    steps.push({ sregs, agrees: guestView.every((value, i) => value === outsideView[i]) });
  }
  if (reason !== KVM_EXIT_HLT) throw new Error(`the guest ended with ${exitName(reason)}`);

  out("One guest, and its CPU in six states.");
  heading(out, "Each step, and the mode that it led to");
  table(
    out,
    steps.map(({ sregs }, i) => [i + 1, STEPS[i], `→ ${modeOf(sregs)}`]),
  );
  heading(out, "The registers");
  table(out, [
    ["", "CR0", "", "EFER", "", "CS"],
    ...steps.map(({ sregs: { cr0, efer, cs } }, i) => [
      `${i + 1}`,
      hex(cr0, 8),
      bitNames(cr0, CR0_BITS),
      hex(efer, 3),
      bitNames(efer, EFER_BITS),
      `${hex(cs.selector, 4)}: base ${hex(cs.base)}, limit ${hex(cs.limit)}, D=${cs.db} L=${cs.l}`,
    ]),
  ]);
  out("");
  const differing = steps.flatMap(({ agrees }, i) => (agrees ? [] : [i + 1]));
  out(
    differing.length === 0
      ? "The guest read the same CR0, EFER and CS selector at every step as KVM_GET_SREGS gave."
      : `In step ${differing.join(", ")} the guest read other values than KVM_GET_SREGS gave.`,
  );
  const [low, high] = words.map(BigInt);
  out(`Its last word, from a 64-bit register in two halves: ${hex((high << 32n) | low, 16)}.`);
}

/** The mode of operation, from the registers that decide it. */
function modeOf({ cr0, efer, cs }: Sregs): string {
  const width = cs.db ? "32-bit" : "16-bit";
  if ((cr0 & CR0_PE) === 0n) return "real mode, 16-bit code";
  if ((efer & EFER_LMA) === 0n) return `protected mode, ${width} code`;
  return cs.l ? "long mode, 64-bit code" : `long mode, compatibility: ${width} code`;
}

/** The names of the bits that are set. */
function bitNames(value: bigint, names: Readonly<Record<string, number>>): string {
  const set = Object.entries(names).filter(([, bit]) => (value >> BigInt(bit)) & 1n);
  return set.map(([name]) => name).join(" ");
}
