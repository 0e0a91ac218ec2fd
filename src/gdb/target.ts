/**
 * The interface that the protocol needs from a machine. Everything except `pause` and
 * `kill` is for a paused machine, and may throw if it runs.
 */
import type { Fpu } from "../kvm/fpu.ts";
import type { GuestDebugAbilities } from "../kvm/guest-debug-probe.ts";
import type { Regs, Sregs } from "../kvm/registers.ts";
import type { GuestDebug } from "../kvm/vcpu.ts";
import type { DebugStop, Ending } from "../threads/shared.ts";

/** The registers of one CPU, in the parts of the KVM API. */
export interface CpuState {
  readonly general: Regs;
  readonly special: Omit<Sregs, "interrupt_bitmap">;
  readonly fpu: Fpu;
  /** MSR_KERNEL_GS_BASE: the base that SWAPGS exchanges. */
  readonly kernelGsBase: bigint;
}

/** The parts that changed. */
export type CpuChange = Partial<Pick<CpuState, "general" | "special" | "fpu">>;

export interface TargetListener {
  /** A CPU stopped because of `setDebug`, and the machine is paused. */
  stopped(stop: DebugStop): void;
  /** The machine was reset, with new memory, and runs or is paused as before. */
  reset(): void;
  ended(ending: Ending): void;
}

/** gdb's architecture: the set of registers, and the default for disassembly. */
export type Architecture = "i386:x86-64" | "i386" | "i8086";

export interface DebugTarget {
  readonly cpus: number;
  readonly architecture: Architecture;
  /** The kinds of breakpoints at which this KVM stops. */
  readonly abilities: GuestDebugAbilities;
  /** Whether GuestDebug.blockInterrupts is supported. */
  readonly stepsWithoutInterrupts: boolean;
  /** Set by the debugger's session. */
  listener: TargetListener | undefined;
  registers(cpu: number): CpuState;
  setRegisters(cpu: number, change: CpuChange): void;
  /** The state of a CPU, in a word. */
  activity(cpu: number): string;
  /** The guest-physical address behind a linear one; undefined if there is none. */
  translate(cpu: number, linear: bigint): number | undefined;
  /** Undefined unless all of it is RAM. */
  readMemory(physical: number, length: number): Uint8Array | undefined;
  /** False, and nothing is written, unless all of it is RAM. */
  writeMemory(physical: number, bytes: Uint8Array): boolean;
  setDebug(cpu: number, debug: GuestDebug): void;
  /** Runs these CPUs, and not the others. */
  run(cpus: readonly number[]): Promise<void>;
  /** Resolves when the machine is paused or has ended. */
  pause(): Promise<void>;
  kill(): Promise<void>;
  /** Executes the text after gdb's "monitor"; returns the output. */
  monitor(command: string): Promise<string>;
}
