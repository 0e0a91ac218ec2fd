/**
 * A machine as gdb's protocol sees it: CPUs by number, memory by address.
 */
import type { Architecture, CpuChange, CpuState, DebugTarget, TargetListener } from "../gdb/target.ts";
import type { GuestDebugAbilities } from "../kvm/guest-debug-probe.ts";
import type { GuestDebug } from "../kvm/vcpu.ts";
import type { DebugStop, Ending } from "../threads/shared.ts";
import { type MonitoredMachine, monitorCommand } from "./gdb-monitor.ts";
import type { GuestCpu } from "./guest-cpu.ts";

const MSR_KERNEL_GS_BASE = 0xc000_0102;
const CR0_PE = 1n;
const EFER_LMA = 1n << 10n;
/** Boot protocols of 64-bit kernels. The CPU may still be in 32-bit mode at first. */
const PROTOCOLS_64: readonly string[] = ["bzImage", "PVH"];
const MAX_PHYSICAL = 2n ** 52n;

/** What a debugger uses of a VirtualMachine. */
export interface DebuggedMachine extends MonitoredMachine {
  readonly state: string;
  readonly protocol: string;
  readonly stepsWithoutInterrupts: boolean;
  readonly vcpus: readonly GuestCpu[];
  start(options: { readonly vcpus: readonly number[] }): Promise<void>;
  resume(options: { readonly vcpus: readonly number[] }): Promise<void>;
  pause(): Promise<void>;
  stop(): Promise<void>;
  on(event: "debug", listener: (stop: DebugStop) => void): unknown;
  on(event: "reset", listener: () => void): unknown;
  on(event: "exited", listener: (ending: Ending) => void): unknown;
}

export class VmDebugTarget implements DebugTarget {
  listener: TargetListener | undefined;
  readonly abilities: GuestDebugAbilities;
  readonly #vm: DebuggedMachine;

  constructor(vm: DebuggedMachine, abilities: GuestDebugAbilities) {
    this.#vm = vm;
    this.abilities = abilities;
    vm.on("debug", (stop) => this.listener?.stopped(stop));
    vm.on("reset", () => this.listener?.reset());
    vm.on("exited", (ending) => this.listener?.ended(ending));
  }

  get cpus(): number {
    return this.#vm.vcpus.length;
  }

  get architecture(): Architecture {
    const { cr0, efer } = this.#vm.vcpus[0].registers();
    if (PROTOCOLS_64.includes(this.#vm.protocol) || (efer & EFER_LMA) !== 0n) return "i386:x86-64";
    return (cr0 & CR0_PE) === 0n ? "i8086" : "i386";
  }

  get stepsWithoutInterrupts(): boolean {
    return this.#vm.stepsWithoutInterrupts;
  }

  registers(cpu: number): CpuState {
    const vcpu = this.#vm.vcpus[cpu];
    const { general, special } = vcpu.registerParts();
    return { general, special, fpu: vcpu.fpu(), kernelGsBase: vcpu.msr(MSR_KERNEL_GS_BASE) ?? 0n };
  }

  setRegisters(cpu: number, { general, special, fpu }: CpuChange): void {
    const vcpu = this.#vm.vcpus[cpu];
    if (general !== undefined || special !== undefined) vcpu.setRegisters({ ...special, ...general });
    if (fpu !== undefined) vcpu.setFpu(fpu);
  }

  activity(cpu: number): string {
    return this.#vm.vcpus[cpu].activity();
  }

  translate(cpu: number, linear: bigint): number | undefined {
    const physical = this.#vm.vcpus[cpu].translate(linear)?.address;
    return physical === undefined || physical >= MAX_PHYSICAL ? undefined : Number(physical);
  }

  readMemory(physical: number, length: number): Uint8Array | undefined {
    return ifRam(() => this.#vm.memory.read(physical, length));
  }

  writeMemory(physical: number, bytes: Uint8Array): boolean {
    return ifRam(() => this.#vm.memory.write(physical, bytes) ?? true) ?? false;
  }

  setDebug(cpu: number, debug: GuestDebug): void {
    this.#vm.vcpus[cpu].setDebug(debug);
  }

  async run(vcpus: readonly number[]): Promise<void> {
    await (this.#vm.state === "created" ? this.#vm.start({ vcpus }) : this.#vm.resume({ vcpus }));
  }

  async pause(): Promise<void> {
    try {
      if (this.#vm.state === "running") await this.#vm.pause();
    } catch (error) {
      // It met a breakpoint, or ended, before this call ran.
      if (this.#vm.state === "running") throw error;
    }
  }

  kill(): Promise<void> {
    return this.#vm.stop();
  }

  monitor(command: string): Promise<string> {
    return monitorCommand(this.#vm, command);
  }
}

/** Returns undefined where there is no RAM: guest memory then throws a RangeError. */
function ifRam<T>(access: () => T): T | undefined {
  try {
    return access();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
