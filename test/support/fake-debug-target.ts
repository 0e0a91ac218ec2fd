/** A machine for gdb's protocol, made of plain objects: two CPUs, 64 KiB of RAM at a high linear address. */
import type { CpuChange, CpuState, DebugTarget, TargetListener } from "../../src/gdb/target.ts";
import { kvm_fpu, kvm_regs, kvm_sregs } from "../../src/kvm/abi.ts";
import { readFpu } from "../../src/kvm/fpu.ts";
import { readRegs, readSregs } from "../../src/kvm/registers.ts";
import type { GuestDebug } from "../../src/kvm/vcpu.ts";

/** Linear address of RAM's first byte. The page after its last is not mapped. */
export const KERNEL = 0xffff_ffff_8000_0000n;
export const RAM_BYTES = 0x10000;

export class FakeDebugTarget implements DebugTarget {
  readonly cpus = 2;
  readonly architecture = "i386:x86-64";
  abilities = { int3: true, breakpoints: true, watchpoints: true };
  stepsWithoutInterrupts = true;
  listener: TargetListener | undefined;
  readonly ram = new Uint8Array(RAM_BYTES);
  readonly states: CpuState[] = [freshState(), freshState()];
  readonly debug: GuestDebug[] = [{}, {}];
  /** The CPUs of each `run`. */
  readonly runs: (readonly number[])[] = [];
  pauses = 0;
  killed = false;
  readonly typed: string[] = [];

  registers(cpu: number): CpuState {
    return this.states[cpu];
  }
  setRegisters(cpu: number, change: CpuChange): void {
    this.states[cpu] = { ...this.states[cpu], ...change };
  }
  activity(cpu: number): string {
    return cpu === 0 ? "running" : "halted";
  }
  translate(_cpu: number, linear: bigint): number | undefined {
    const at = linear - KERNEL;
    return at >= 0n && at < BigInt(RAM_BYTES) + 0x1000n ? Number(at) : undefined; // a last page of device registers
  }
  readMemory(physical: number, length: number): Uint8Array | undefined {
    return physical + length <= RAM_BYTES ? this.ram.slice(physical, physical + length) : undefined;
  }
  writeMemory(physical: number, bytes: Uint8Array): boolean {
    if (physical + bytes.length > RAM_BYTES) return false;
    this.ram.set(bytes, physical);
    return true;
  }
  setDebug(cpu: number, debug: GuestDebug): void {
    this.debug[cpu] = debug;
  }
  async run(cpus: readonly number[]): Promise<void> {
    this.runs.push(cpus);
  }
  async pause(): Promise<void> {
    this.pauses++;
  }
  async kill(): Promise<void> {
    this.killed = true;
  }
  async monitor(command: string): Promise<string> {
    this.typed.push(command);
    return `did ${command}\n`;
  }
}

function freshState(): CpuState {
  const { interrupt_bitmap: _, ...special } = readSregs(new Uint8Array(kvm_sregs.sizeof));
  const general = readRegs(new Uint8Array(kvm_regs.sizeof));
  return { general, special, fpu: readFpu(new Uint8Array(kvm_fpu.sizeof)), kernelGsBase: 0n };
}
