/**
 * A vCPU: entering the guest, and the registers it enters with.
 *
 * Source: Linux Documentation/virt/kvm/api.rst, section 4, "Type: vcpu ioctl".
 *
 * One thread at a time: every method but `kick`, `token` and `close` throws
 * EBUSY while another thread is inside the same vCPU.
 */
import { type NativeKvmVcpu, native } from "../sys/native.ts";
import * as abi from "./abi.ts";
import {
  kvm_debugregs,
  kvm_fpu,
  kvm_guest_debug,
  kvm_lapic_state,
  kvm_regs,
  kvm_sregs,
  kvm_sregs2,
  kvm_translation,
  kvm_vcpu_events,
  kvm_xcrs,
} from "./abi.ts";
import { type CapabilityName, capabilityNumber } from "./capabilities.ts";
import { type CpuidEntry, writeCpuid } from "./cpuid.ts";
import { check, fail } from "./errors.ts";
import { Exit, INTERRUPTED } from "./exit.ts";
import type { ExitQueue } from "./exit-queue.ts";
import { ExitRegisters } from "./exit-registers.ts";
import { type Fpu, readFpu, writeFpu } from "./fpu.ts";
import { type MsrEntry, readMsrs, writeMsrs } from "./msr.ts";
import {
  type Regs,
  type RegsChange,
  readRegs,
  readSregs,
  type Sregs,
  type SregsChange,
  writeRegs,
  writeSregs,
} from "./registers.ts";
import { type Counters, openStats, readCounters, readStats, type Stats } from "./stats.ts";

/** Where a guest's linear address leads. */
export interface Translation {
  /** Guest-physical. */
  readonly address: bigint;
  readonly writeable: boolean;
  readonly usermode: boolean;
}

/** What stops the guest with KVM_EXIT_DEBUG. */
export interface GuestDebug {
  readonly singleStep?: boolean;
  /** An INT3 exits instead of reaching the guest. */
  readonly softwareBreakpoints?: boolean;
  /** No interrupt is delivered during a step; only where KVM_CAP_SET_GUEST_DEBUG2 offers KVM_GUESTDBG_BLOCKIRQ. */
  readonly blockInterrupts?: boolean;
  /** Gives the guest, once, an exception that stopped it but is its own: an INT3 of its program, or a #DB. */
  readonly inject?: "breakpoint" | "debug";
  /** Values of DR0 to DR3 and DR7 to use instead of the guest's. */
  readonly hardware?: { readonly addresses: readonly bigint[]; readonly dr7: bigint };
}

/** What KVM_CAP_SET_GUEST_DEBUG2 may offer (Linux 5.16). By number: older headers do not know it. */
export const KVM_GUESTDBG_BLOCKIRQ = 0x0010_0000;

export class Vcpu {
  /** Why the last `run` returned; one object for all exits. */
  readonly exit: Exit;
  readonly #native: NativeKvmVcpu;
  readonly #run: () => number;
  #cpuid: readonly CpuidEntry[] = [];
  /** Made when it is first asked for: few vCPUs are timed. */
  #timed: { run: () => number; times: Float64Array } | undefined;

  /** Use Vm.createVcpu or Vcpu.attach. */
  constructor(handle: NativeKvmVcpu) {
    const page = handle.runPage();
    if (typeof page === "number") fail(page, "mmap(kvm_run)", "looking at a vCPU");
    const run = runner(handle, false);
    this.exit = new Exit(page);
    this.#native = handle;
    this.#run = run;
  }

  /** The vCPU whose token another thread sent. @throws {KvmError} ENOENT if it is closed. */
  static attach(token: number): Vcpu {
    const handle = new native.KvmVcpu();
    check(handle.attach(token), "attach(vCPU)", "sharing a vCPU with a thread");
    return new Vcpu(handle);
  }

  /** Names this vCPU in every thread; valid until its last handle closes. */
  get token(): number {
    return check(this.#native.token(), "token(vCPU)", "sharing a vCPU with a thread");
  }

  /**
   * Runs the guest on this thread until it exits. Allocates nothing.
   *
   * @returns KVM_EXIT_*, with details in `exit`; or INTERRUPTED after a kick or another signal
   * @throws {KvmError} EBUSY if another thread runs it; EFAULT if the host cannot give the guest's memory.
   * @see api.rst, 4.10 KVM_RUN
   */
  run(): number {
    const result = this.#run();
    if (result < 0 && result !== INTERRUPTED) fail(result, "ioctl(KVM_RUN)", "running the guest");
    return result;
  }

  /** As `run`, and notes the time in `times`. */
  runTimed(): number {
    const result = this.#timedRun.run();
    if (result < 0 && result !== INTERRUPTED) fail(result, "ioctl(KVM_RUN)", "running the guest");
    return result;
  }

  /** When `runTimed` last entered KVM_RUN, and when it left it: ns of CLOCK_MONOTONIC. The same in every thread. */
  get times(): Float64Array {
    return this.#timedRun.times;
  }

  /**
   * Makes `run`, now or when it is called next, return INTERRUPTED. The one
   * method that is meant for other threads: through an attached handle.
   */
  kick(): void {
    check(this.#native.kick(), "kick(vCPU)", "stopping a vCPU");
  }

  /** The thread that takes from the queue runs this vCPU until it takes again; the queue may kick it. */
  attend(queue: ExitQueue): void {
    check(this.#native.attend(queue.native), "attend(vCPU)", "sharing a thread among vCPUs");
  }

  /**
   * Runs the guest on a thread of the addon's own, with a small stack. When it has left the guest, `tag` is in
   * the queue; the next `run` or `runTimed` then returns the exit, without running the guest.
   *
   * @param timed notes the time in `times`
   * @throws {KvmError} EBUSY if it runs apart already, or its exit was not taken
   */
  runApart(queue: ExitQueue, tag: number, timed: boolean): void {
    check(this.#native.runApart(queue.native, tag, timed), "runApart(vCPU)", "running the guest");
  }

  /**
   * Finishes the instruction behind a KVM_EXIT_IO or KVM_EXIT_MMIO that was
   * answered, without running the guest on: its registers are then as the
   * guest sees them, for a snapshot or a debugger.
   *
   * @returns INTERRUPTED when done; or the reason of another exit that the same instruction needs: answer it
   *   and call again
   * @see api.rst, section 5, the note on KVM_EXIT_IO and KVM_EXIT_MMIO
   */
  completeExit(): number {
    this.kick();
    return this.run();
  }

  /**
   * Provides the registers at each exit, for a loop that needs them every time.
   *
   * @param synced whether KVM_CAP_SYNC_REGS has KVM_SYNC_X86_REGS and KVM_SYNC_X86_SREGS
   */
  exitRegisters(synced: boolean): ExitRegisters {
    const page = this.#native.runPage();
    if (typeof page === "number") fail(page, "mmap(kvm_run)", "looking at a vCPU");
    return new ExitRegisters(this.#native, page, synced);
  }

  /** @see api.rst, 4.11 KVM_GET_REGS */
  getRegs(): Regs {
    return readRegs(this.#regs());
  }

  /** Sets all general registers. @see api.rst, 4.12 KVM_SET_REGS */
  setRegs(regs: Regs): void {
    const bytes = new Uint8Array(kvm_regs.sizeof);
    writeRegs(bytes, regs);
    check(this.#native.setRegs(bytes), "ioctl(KVM_SET_REGS)", "setting registers");
  }

  /** Sets some general registers. */
  changeRegs(change: RegsChange): void {
    const bytes = this.#regs();
    writeRegs(bytes, change);
    check(this.#native.setRegs(bytes), "ioctl(KVM_SET_REGS)", "setting registers");
  }

  /** @see api.rst, 4.13 KVM_GET_SREGS */
  getSregs(): Sregs {
    return readSregs(this.#sregs());
  }

  /** Sets all segment, table and control registers. @see api.rst, 4.14 KVM_SET_SREGS */
  setSregs(sregs: Sregs): void {
    const bytes = new Uint8Array(kvm_sregs.sizeof);
    writeSregs(bytes, sregs);
    check(this.#native.setSregs(bytes), "ioctl(KVM_SET_SREGS)", "setting special registers");
  }

  /** Sets some of them. */
  changeSregs(change: SregsChange): void {
    const bytes = this.#sregs();
    writeSregs(bytes, change);
    check(this.#native.setSregs(bytes), "ioctl(KVM_SET_SREGS)", "setting special registers");
  }

  /**
   * struct kvm_sregs2, as bytes to keep: of a 32-bit guest also the entries of its page directory
   * pointer table that the CPU has loaded. Needs KVM_CAP_SREGS2. @see api.rst, 4.132 KVM_GET_SREGS2
   */
  getSregs2(): Uint8Array {
    const bytes = new Uint8Array(kvm_sregs2.sizeof);
    check(this.#native.getSregs2(bytes), "ioctl(KVM_GET_SREGS2)", "reading special registers");
    return bytes;
  }

  /** @see api.rst, 4.133 KVM_SET_SREGS2 */
  setSregs2(bytes: Uint8Array): void {
    check(this.#native.setSregs2(bytes), "ioctl(KVM_SET_SREGS2)", "setting special registers");
  }

  /** struct kvm_fpu, as bytes to keep. @see api.rst, 4.22 KVM_GET_FPU */
  getFpu(): Uint8Array {
    const bytes = new Uint8Array(kvm_fpu.sizeof);
    check(this.#native.getFpu(bytes), "ioctl(KVM_GET_FPU)", "reading the FPU");
    return bytes;
  }

  /** @see api.rst, 4.23 KVM_SET_FPU */
  setFpu(bytes: Uint8Array): void {
    check(this.#native.setFpu(bytes), "ioctl(KVM_SET_FPU)", "setting the FPU");
  }

  /** The x87 and SSE registers. @see api.rst, 4.22 KVM_GET_FPU */
  get fpu(): Fpu {
    return readFpu(this.getFpu());
  }

  /** @see api.rst, 4.23 KVM_SET_FPU */
  set fpu(fpu: Fpu) {
    const bytes = this.getFpu();
    writeFpu(bytes, fpu);
    this.setFpu(bytes);
  }

  /** The XSAVE area, as bytes to keep. @see api.rst, 4.42 KVM_GET_XSAVE, 4.134 KVM_GET_XSAVE2 */
  getXsave(): Uint8Array {
    const bytes = new Uint8Array(
      check(this.#native.xsaveSize(), "ioctl(KVM_CHECK_EXTENSION)", "saving a vCPU"),
    );
    check(this.#native.getXsave(bytes), "ioctl(KVM_GET_XSAVE)", "reading the XSAVE area");
    return bytes;
  }

  /** @see api.rst, 4.43 KVM_SET_XSAVE */
  setXsave(bytes: Uint8Array): void {
    check(this.#native.setXsave(bytes), "ioctl(KVM_SET_XSAVE)", "setting the XSAVE area");
  }

  /** struct kvm_xcrs, as bytes to keep. @see api.rst, 4.44 KVM_GET_XCRS */
  getXcrs(): Uint8Array {
    const bytes = new Uint8Array(kvm_xcrs.sizeof);
    check(this.#native.getXcrs(bytes), "ioctl(KVM_GET_XCRS)", "reading XCR0");
    return bytes;
  }

  /** @see api.rst, 4.45 KVM_SET_XCRS */
  setXcrs(bytes: Uint8Array): void {
    check(this.#native.setXcrs(bytes), "ioctl(KVM_SET_XCRS)", "setting XCR0");
  }

  /** MSRs, up to the first that KVM refuses. @see api.rst, 4.18 KVM_GET_MSRS */
  getMsrs(indices: Iterable<number>): MsrEntry[] {
    const bytes = writeMsrs(Array.from(indices, (index) => ({ index, data: 0n })));
    return readMsrs(bytes, check(this.#native.getMsrs(bytes), "ioctl(KVM_GET_MSRS)", "reading MSRs"));
  }

  /** Sets MSRs in order, up to the first that KVM refuses; returns how many. @see api.rst, 4.19 KVM_SET_MSRS */
  setMsrs(entries: readonly MsrEntry[]): number {
    return check(this.#native.setMsrs(writeMsrs(entries)), "ioctl(KVM_SET_MSRS)", "setting MSRs");
  }

  /** Before the first run. @see api.rst, 4.20 KVM_SET_CPUID */
  setCpuid(entries: readonly CpuidEntry[]): void {
    check(this.#native.setCpuid2(writeCpuid(entries)), "ioctl(KVM_SET_CPUID2)", "setting CPUID");
    this.#cpuid = entries;
  }

  /** What setCpuid was given last, through this handle. KVM_GET_CPUID2 also has bits that follow the guest's registers. */
  get cpuid(): readonly CpuidEntry[] {
    return this.#cpuid;
  }

  /** The local APIC's registers, as bytes to keep. @see api.rst, 4.57 KVM_GET_LAPIC */
  getLapic(): Uint8Array {
    const bytes = new Uint8Array(kvm_lapic_state.sizeof);
    check(this.#native.getLapic(bytes), "ioctl(KVM_GET_LAPIC)", "reading the local APIC");
    return bytes;
  }

  /** @see api.rst, 4.58 KVM_SET_LAPIC */
  setLapic(bytes: Uint8Array): void {
    check(this.#native.setLapic(bytes), "ioctl(KVM_SET_LAPIC)", "setting the local APIC");
  }

  /** KVM_MP_STATE_*: running, halted, waiting to be started. @see api.rst, 4.38 KVM_GET_MP_STATE */
  getMpState(): number {
    return check(this.#native.getMpState(), "ioctl(KVM_GET_MP_STATE)", "reading whether a vCPU runs");
  }

  /** @see api.rst, 4.39 KVM_SET_MP_STATE */
  setMpState(state: number): void {
    check(this.#native.setMpState(state), "ioctl(KVM_SET_MP_STATE)", "setting whether a vCPU runs");
  }

  /** struct kvm_vcpu_events: exceptions and interrupts on their way, as bytes to keep. @see api.rst, 4.31 KVM_GET_VCPU_EVENTS */
  getVcpuEvents(): Uint8Array {
    const bytes = new Uint8Array(kvm_vcpu_events.sizeof);
    check(this.#native.getVcpuEvents(bytes), "ioctl(KVM_GET_VCPU_EVENTS)", "reading pending events");
    return bytes;
  }

  /** @see api.rst, 4.32 KVM_SET_VCPU_EVENTS */
  setVcpuEvents(bytes: Uint8Array): void {
    check(this.#native.setVcpuEvents(bytes), "ioctl(KVM_SET_VCPU_EVENTS)", "setting pending events");
  }

  /** struct kvm_debugregs, as bytes to keep. @see api.rst, 4.33 KVM_GET_DEBUGREGS */
  getDebugregs(): Uint8Array {
    const bytes = new Uint8Array(kvm_debugregs.sizeof);
    check(this.#native.getDebugregs(bytes), "ioctl(KVM_GET_DEBUGREGS)", "reading debug registers");
    return bytes;
  }

  /** @see api.rst, 4.34 KVM_SET_DEBUGREGS */
  setDebugregs(bytes: Uint8Array): void {
    check(this.#native.setDebugregs(bytes), "ioctl(KVM_SET_DEBUGREGS)", "setting debug registers");
  }

  /** A capability of vCPUs that takes no arguments. @see api.rst, 4.37 KVM_ENABLE_CAP and section 6 */
  enableCap(capability: CapabilityName | number): void {
    const result = this.#native.enableCap(capabilityNumber(capability));
    check(result, "ioctl(KVM_ENABLE_CAP)", `enabling capability ${capability} of a vCPU`);
  }

  /** Replaces what stops the guest; `{}` for nothing. @see api.rst, 4.87 KVM_SET_GUEST_DEBUG */
  setGuestDebug(debug: GuestDebug): void {
    const { singleStep = false, softwareBreakpoints = false, blockInterrupts = false, hardware } = debug;
    const wanted =
      (singleStep ? abi.KVM_GUESTDBG_SINGLESTEP : 0) |
      (softwareBreakpoints ? abi.KVM_GUESTDBG_USE_SW_BP : 0) |
      (blockInterrupts ? KVM_GUESTDBG_BLOCKIRQ : 0) |
      (debug.inject === "breakpoint" ? abi.KVM_GUESTDBG_INJECT_BP : 0) |
      (debug.inject === "debug" ? abi.KVM_GUESTDBG_INJECT_DB : 0) |
      (hardware === undefined ? 0 : abi.KVM_GUESTDBG_USE_HW_BP);
    const data = new DataView(new ArrayBuffer(kvm_guest_debug.sizeof));
    data.setUint32(kvm_guest_debug.control, wanted === 0 ? 0 : wanted | abi.KVM_GUESTDBG_ENABLE, true);
    if (hardware !== undefined) {
      hardware.addresses.slice(0, 4).forEach((address, i) => {
        data.setBigUint64(kvm_guest_debug.debugreg + 8 * i, address, true);
      });
      data.setBigUint64(kvm_guest_debug.debugreg + 8 * 7, hardware.dr7, true);
    }
    const bytes = new Uint8Array(data.buffer);
    check(this.#native.setGuestDebug(bytes), "ioctl(KVM_SET_GUEST_DEBUG)", "setting breakpoints");
  }

  /** Where a linear address leads with the page tables of now; undefined if nowhere. @see api.rst, 4.15 KVM_TRANSLATE */
  translate(linear: bigint): Translation | undefined {
    const data = new DataView(new ArrayBuffer(kvm_translation.sizeof));
    data.setBigUint64(kvm_translation.linear_address, linear, true);
    const bytes = new Uint8Array(data.buffer);
    check(this.#native.translate(bytes), "ioctl(KVM_TRANSLATE)", "translating a guest's address");
    if (bytes[kvm_translation.valid] === 0) return undefined;
    return {
      address: data.getBigUint64(kvm_translation.physical_address, true),
      writeable: bytes[kvm_translation.writeable] !== 0,
      usermode: bytes[kvm_translation.usermode] !== 0,
    };
  }

  /** Sends a non-maskable interrupt. @see api.rst, 4.64 KVM_NMI */
  nmi(): void {
    check(this.#native.nmi(), "ioctl(KVM_NMI)", "sending an NMI");
  }

  /** Sends an interrupt, in a VM without KVM's interrupt controllers. @see api.rst, 4.16 KVM_INTERRUPT */
  interrupt(vector: number): void {
    check(this.#native.interrupt(vector), "ioctl(KVM_INTERRUPT)", `sending interrupt ${vector}`);
  }

  /** @see api.rst, 4.56 KVM_GET_TSC_KHZ */
  get tscKhz(): number {
    return check(this.#native.getTscKhz(), "ioctl(KVM_GET_TSC_KHZ)", "asking for the TSC's frequency");
  }

  /** @see api.rst, 4.55 KVM_SET_TSC_KHZ */
  set tscKhz(khz: number) {
    check(this.#native.setTscKhz(khz), "ioctl(KVM_SET_TSC_KHZ)", "setting the TSC's frequency");
  }

  /** Notifies the guest that it was paused, so that its watchdog does not report a hang. @see api.rst, 4.70 KVM_KVMCLOCK_CTRL */
  kvmclockCtrl(): void {
    check(this.#native.kvmclockCtrl(), "ioctl(KVM_KVMCLOCK_CTRL)", "notifying the guest of a pause");
  }

  /** KVM's counters of this vCPU; also from another thread than the one that is in `run`, if they were opened before. @see api.rst, 4.133 KVM_GET_STATS_FD */
  stats(): Stats {
    return readStats((offset, out) => this.#readStats(offset, out), "vcpu");
  }

  /** Those of them that only grow. */
  counters(): Counters {
    return readCounters((offset, out) => this.#readStats(offset, out), "vcpu");
  }

  /** Opens them, so that they can be read while another thread is in `run`. */
  openCounters(): void {
    openStats((offset, out) => this.#readStats(offset, out));
  }

  /**
   * Closes the vCPU; `exit` must not be used afterwards. The memory of its
   * VM stays mapped until every vCPU is closed. Closing twice does nothing.
   */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #timedRun(): { run: () => number; times: Float64Array } {
    this.#timed ??= { run: runner(this.#native, true), times: timesOf(this.#native) };
    return this.#timed;
  }

  #readStats(offset: number, out: Uint8Array): number {
    return check(this.#native.readStats(offset, out), "ioctl(KVM_GET_STATS_FD)", "reading KVM's statistics");
  }

  #regs(): Uint8Array {
    const bytes = new Uint8Array(kvm_regs.sizeof);
    check(this.#native.getRegs(bytes), "ioctl(KVM_GET_REGS)", "reading registers");
    return bytes;
  }

  #sregs(): Uint8Array {
    const bytes = new Uint8Array(kvm_sregs.sizeof);
    check(this.#native.getSregs(bytes), "ioctl(KVM_GET_SREGS)", "reading special registers");
    return bytes;
  }
}

function runner(handle: NativeKvmVcpu, timed: boolean): () => number {
  const run = handle.runner(timed);
  if (typeof run === "number") fail(run, "runner(vCPU)", "looking at a vCPU");
  return run;
}

function timesOf(handle: NativeKvmVcpu): Float64Array {
  const times = handle.times();
  if (typeof times === "number") fail(times, "times(vCPU)", "looking at a vCPU");
  return new Float64Array(times);
}
