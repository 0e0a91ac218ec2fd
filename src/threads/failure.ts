/**
 * The message for an exit that crashed the guest: the reason, the CPU's registers
 * and mode, and the details that KVM reports.
 */
import * as abi from "../kvm/abi.ts";
import { exitName } from "../kvm/exit.ts";
import type { Regs, Sregs } from "../kvm/registers.ts";
import type { Vcpu } from "../kvm/vcpu.ts";

const SUBERRORS: Readonly<Record<number, string>> = {
  [abi.KVM_INTERNAL_ERROR_EMULATION]: "KVM cannot emulate an instruction",
  [abi.KVM_INTERNAL_ERROR_SIMUL_EX]: "too many exceptions at once",
  [abi.KVM_INTERNAL_ERROR_DELIVERY_EV]: "an exit while an event was delivered",
  [abi.KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON]: "hardware gave a reason that KVM does not know",
};

/** One paragraph; never throws. */
export function describeFailure(vcpu: Vcpu, reason: number): string {
  return `${explain(vcpu, reason)} (KVM_EXIT_${exitName(reason)}); ${state(vcpu)}`;
}

function explain(vcpu: Vcpu, reason: number): string {
  const { exit } = vcpu;
  switch (reason) {
    case abi.KVM_EXIT_SHUTDOWN:
      return "triple fault: an exception could not be delivered, nor the one that this caused";
    case abi.KVM_EXIT_HLT:
      return "the CPU halted and nothing can wake it";
    case abi.KVM_EXIT_FAIL_ENTRY:
      return `hardware refused to enter the guest: reason 0x${exit.entryFailure.toString(16)}`;
    case abi.KVM_EXIT_INTERNAL_ERROR: {
      const what = SUBERRORS[exit.suberror] ?? `suberror ${exit.suberror}`;
      const bytes = hex(exit.instruction);
      const data = exit.internalData.map((word) => `0x${word.toString(16)}`).join(" ");
      return `KVM gave up: ${what}${bytes === "" ? "" : `: ${bytes}`}${data === "" ? "" : ` [${data}]`}`;
    }
    case abi.KVM_EXIT_UNKNOWN:
      return `hardware left the guest for a reason that KVM does not know: 0x${exit.hardwareReason.toString(16)}`;
    default:
      return "an exit that this machine does not serve";
  }
}

function state(vcpu: Vcpu): string {
  try {
    const regs = vcpu.getRegs();
    const sregs = vcpu.getSregs();
    const note = atReset(regs, sregs)
      ? " (AMD's KVM has reset the registers, so they do not show where it was)"
      : "";
    return describeRegisters(regs, sregs) + note;
  } catch {
    return "its registers cannot be read";
  }
}

/** True if the CPU is at its first instruction. */
function atReset(regs: Regs, sregs: Sregs): boolean {
  return regs.rip === 0xfff0n && sregs.cs.selector === 0xf000 && sregs.cs.base === 0xffff_0000n;
}

/** A CPU's RIP, mode and registers, in one line. */
function describeRegisters(regs: Regs, sregs: Sregs): string {
  const word = (value: bigint) => `0x${value.toString(16)}`;
  const general = (["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "rflags"] as const)
    .map((name) => `${name}=${word(regs[name])}`)
    .join(" ");
  const control = (["cr0", "cr2", "cr3", "cr4", "efer"] as const)
    .map((name) => `${name}=${word(sregs[name])}`)
    .join(" ");
  return `cs:rip=${sregs.cs.selector.toString(16)}:${word(regs.rip)} ${general} ${control}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
