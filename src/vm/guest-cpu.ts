/**
 * A CPU of the guest, for programs that read it while the machine is paused.
 *
 * Its thread then sleeps outside KVM_RUN, so another thread may use the vCPU. The
 * vCPU itself refuses two threads at once (EBUSY).
 */
import { KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE } from "../kvm/abi.ts";
import type { Fpu } from "../kvm/fpu.ts";
import type { Regs, RegsChange, Sregs, SregsChange } from "../kvm/registers.ts";
import type { GuestDebug, Translation, Vcpu } from "../kvm/vcpu.ts";

/** General, segment, table and control registers, under the names of struct kvm_regs and kvm_sregs. */
export type Registers = Regs & Omit<Sregs, "interrupt_bitmap">;
/** Registers to change. The others keep their values. */
export type RegistersChange = RegsChange & SregsChange;

/** What runs, of a machine. */
export interface RunOptions {
  /** Only these CPUs, by index; the others do not run until the machine was paused and resumed. */
  readonly vcpus?: readonly number[];
}

/** Every method throws a StateError unless the machine was just created or is paused. */
export class GuestCpu {
  readonly index: number;
  readonly #vcpu: (doing: string) => Vcpu;
  #debug: GuestDebug = {};

  constructor(index: number, vcpu: (doing: string) => Vcpu) {
    this.index = index;
    this.#vcpu = (doing) => vcpu(`vcpus[${index}].${doing}`);
  }

  registers(): Registers {
    const { general, special } = this.registerParts();
    return { ...general, ...special };
  }

  /** The same registers in KVM's two structures. */
  registerParts(): { general: Regs; special: Omit<Sregs, "interrupt_bitmap"> } {
    const vcpu = this.#vcpu("registers");
    const { interrupt_bitmap: _, ...special } = vcpu.getSregs();
    return { general: vcpu.getRegs(), special };
  }

  /** @throws {KvmError} EINVAL for values that no CPU could have, such as paging without protection. */
  setRegisters(change: RegistersChange): void {
    const vcpu = this.#vcpu("setRegisters");
    const general = vcpu.getRegs();
    const names = Object.keys(change);
    // The special registers first, because KVM may refuse those.
    if (names.some((name) => !(name in general))) vcpu.changeSregs(change);
    if (names.some((name) => name in general)) vcpu.changeRegs(change);
  }

  /** The x87 and SSE registers. */
  fpu(): Fpu {
    return this.#vcpu("fpu").fpu;
  }

  setFpu(fpu: Fpu): void {
    this.#vcpu("setFpu").fpu = fpu;
  }

  /** A model-specific register; undefined if KVM does not have one with that number. */
  msr(index: number): bigint | undefined {
    return this.#vcpu("msr").getMsrs([index])[0]?.data;
  }

  /** What the CPU does when the machine runs. "waiting": for the INIT and SIPI that start it. */
  activity(): "running" | "halted" | "waiting" {
    switch (this.#vcpu("activity").getMpState()) {
      case KVM_MP_STATE_RUNNABLE:
        return "running";
      case KVM_MP_STATE_HALTED:
        return "halted";
      default:
        return "waiting";
    }
  }

  /** Translates a linear address with the CPU's present page tables; undefined if it is not mapped. */
  translate(linear: bigint): Translation | undefined {
    return this.#vcpu("translate").translate(linear);
  }

  /**
   * Sets what stops this CPU, and with it the machine, from the next resume on:
   * the machine then pauses and emits "debug". Replaces the earlier settings;
   * `{}` clears them. A reset keeps them, except for a single step.
   */
  setDebug(debug: GuestDebug): void {
    this.#vcpu("setDebug").setGuestDebug(debug);
    const { singleStep: _step, inject: _inject, ...lasting } = debug;
    this.#debug = lasting;
  }

  /** Applies the settings of the last power cycle to a new one. */
  carryDebug(vcpu: Vcpu): void {
    if (Object.keys(this.#debug).length > 0) vcpu.setGuestDebug(this.#debug);
  }
}
