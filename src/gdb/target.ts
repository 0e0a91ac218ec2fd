/**
 * What the protocol needs of a machine. Everything but `pause` and `kill` is for
 * a machine that stands still, and may throw if it does not.
 */
import type { Fpu } from "../kvm/fpu.ts";
import type { GuestDebugAbilities } from "../kvm/guest-debug-probe.ts";
import type { Regs, Sregs } from "../kvm/registers.ts";
import type { GuestDebug } from "../kvm/vcpu.ts";
import type { DebugStop, Ending } from "../threads/shared.ts";

/** The registers of one CPU, in the parts in which KVM takes them. */
export interface CpuState {
  readonly general: Regs;
  readonly special: Omit<Sregs, "interrupt_bitmap">;
  readonly fpu: Fpu;
  /** MSR_KERNEL_GS_BASE: the other one of SWAPGS. */
  readonly kernelGsBase: bigint;
}

/** The parts that changed. */
export type CpuChange = Partial<Pick<CpuState, "general" | "special" | "fpu">>;

export interface TargetListener {
  /** A CPU stopped at what `setDebug` told it, and the machine stands still. */
  stopped(stop: DebugStop): void;
  /** The machine began anew, with new memory, and runs or stands as before. */
  reset(): void;
  ended(ending: Ending): void;
}

/** In gdb's words: what registers there are, and how code is disassembled unless the user knows better. */
export type Architecture = "i386:x86-64" | "i386" | "i8086";

export interface DebugTarget {
  readonly cpus: number;
  readonly architecture: Architecture;
  /** What this KVM stops at, if it is asked to. */
  readonly abilities: GuestDebugAbilities;
  /** Whether GuestDebug.blockInterrupts can be had. */
  readonly stepsWithoutInterrupts: boolean;
  /** Set by whoever debugs. */
  listener: TargetListener | undefined;
  registers(cpu: number): CpuState;
  setRegisters(cpu: number, change: CpuChange): void;
  /** What a CPU is doing, in a word. */
  activity(cpu: number): string;
  /** The guest-physical address behind a linear one; undefined if there is none. */
  translate(cpu: number, linear: bigint): number | undefined;
  /** Undefined unless all of it is RAM. */
  readMemory(physical: number, length: number): Uint8Array | undefined;
  /** False, and nothing is written, unless all of it is RAM. */
  writeMemory(physical: number, bytes: Uint8Array): boolean;
  setDebug(cpu: number, debug: GuestDebug): void;
  /** Lets these CPUs run, and the others not. */
  run(cpus: readonly number[]): Promise<void>;
  /** Resolves when the machine stands still, or has ended. */
  pause(): Promise<void>;
  kill(): Promise<void>;
  /** Carries out what was typed after gdb's "monitor"; returns what to print. */
  monitor(command: string): Promise<string>;
}
