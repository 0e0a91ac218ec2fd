/**
 * The hypercall instruction, compared with a hypercall by port.
 *
 * VMCALL (Intel) and VMMCALL (AMD) exit to KVM, which answers and enters the guest again:
 * user space does not notice. For a number that it does not know, KVM returns -KVM_ENOSYS.
 *
 * Guest: three-ways-vmcall.s. Source: Linux Documentation/virt/kvm/x86/hypercalls.rst and
 * <linux/kvm_para.h>.
 */
import { exitName, KVM_EXIT_DEBUG, KVM_EXIT_HLT, KVM_EXIT_IO } from "vmexit/kvm";
import { type BareMachine, bareMachine } from "./bare-machine.ts";
import type { Out } from "./demos.ts";
import { disassemble } from "./disassembly.ts";
import { startFlat } from "./flat-mode.ts";
import { Guest } from "./guest.ts";
import { duration, heading, hex, now, table } from "./print.ts";

const KVM_ENOSYS = 1000; // <linux/kvm_para.h>: there is no hypercall of this number
const HLT = 0xf4;
const MAX_STEPS = 40;

export function hypercalls(out: Out): void {
  const guest = new Guest("three-ways-vmcall");
  heading(out, "A call that KVM answers by itself, in the kernel");
  if (!isAnswered(guest, out)) return;
  const calls = guest.symbol("CALLS");
  const timed = (way: string, label: string) => {
    const { returns, time, eax } = callMany(guest, label);
    return [way, calls, returns, duration(time / calls), eax];
  };
  out("");
  table(out, [
    [`call ${hex(guest.symbol("UNKNOWN"))}`, "calls", "KVM_RUNs", "time of one", "EAX"],
    timed("by the instruction: KVM answers", "start_many"),
    timed("by a port: this program answers", "start_many_ports"),
  ]);
}

/**
 * Makes one call that KVM knows and one that it does not know, and prints the answers. It
 * uses single steps, because on some KVMs the instruction never ends: then EIP does not move.
 */
function isAnswered(guest: Guest, out: Out): boolean {
  using machine = machineAt(guest, guest.entry);
  const { cpu, memory } = machine;
  const at = (label: string) => disassemble(memory, guest.symbol(label), 32);
  const assembled = new Map(["intel", "amd"].map((label) => [guest.symbol(label), at(label)]));
  cpu.setGuestDebug({ singleStep: true });

  for (let step = 0; ; step++) {
    const rip = Number(cpu.getRegs().rip);
    if (memory[rip] === HLT) break;
    const reason = cpu.run();
    if (reason !== KVM_EXIT_DEBUG || step === MAX_STEPS)
      throw new Error(`unexpected exit ${exitName(reason)}`);
    const call = assembled.get(rip);
    if (call === undefined) continue;
    const now = disassemble(memory, rip, 32);
    if (now.bytes !== call.bytes)
      out(`KVM has replaced ${call.text} (${call.bytes}) by ${now.text} (${now.bytes}).`);
    if (Number(cpu.getRegs().rip) !== rip) continue;
    out(`${now.text} at ${hex(rip)} gets no answer: a step over it changes neither EIP nor EAX.`);
    out("This KVM emulates the guest's ring 0. Its emulator writes the instruction that it considers");
    out("right, and tries again, for ever. On hardware the unknown call returns -1000 (-KVM_ENOSYS).");
    return false;
  }

  const answer = (label: string) => new DataView(memory.buffer).getInt32(guest.symbol(label), true);
  const meaning = (value: number) => (value === -KVM_ENOSYS ? "-KVM_ENOSYS: no such call" : "");
  const row = (what: string, value: number) => [what, "EAX", value, meaning(value)];
  table(out, [
    row(`KVM_HC_VAPIC_POLL_IRQ (${guest.symbol("VAPIC_POLL_IRQ")})`, answer("known_answer")),
    row(`${hex(guest.symbol("UNKNOWN"))}, which KVM does not know`, answer("unknown_answer")),
  ]);
  return true;
}

/** Runs the loop of calls at a label to its HLT. */
function callMany(guest: Guest, label: string): { returns: number; time: number; eax: number } {
  using machine = machineAt(guest, guest.symbol(label));
  const { cpu } = machine;
  const began = now();
  for (let returns = 1; ; returns++) {
    const reason = cpu.run();
    if (reason === KVM_EXIT_HLT) {
      const time = now() - began;
      return { returns, time, eax: Number(BigInt.asIntN(32, cpu.getRegs().rax)) };
    }
    if (reason !== KVM_EXIT_IO) throw new Error(`unexpected exit ${exitName(reason)}`);
    cpu.exit.io.put(0, -KVM_ENOSYS); // KVM's answer to an unknown call
  }
}

function machineAt(guest: Guest, entry: number): BareMachine {
  const machine = bareMachine(guest);
  // The guest reads the vendor of its processor from CPUID. Without this call there is none.
  machine.cpu.setCpuid(machine.kvm.supportedCpuid());
  startFlat(machine.cpu, entry);
  return machine;
}
