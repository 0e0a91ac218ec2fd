/**
 * A vCPU's registers as they are at each exit, without a system call for each:
 * KVM puts them into the kvm_run page itself. Where it cannot, they are asked
 * for. Nothing here allocates once it is made.
 *
 * The special registers cost KVM more than all else here (140 ns measured; on
 * Intel each of their fields is an instruction). They are left out while they
 * would add nothing: a RIP beyond 4 GiB means 64-bit mode.
 *
 * Source: Linux api.rst, section 5 (kvm_valid_regs, struct kvm_sync_regs) and
 * 7, KVM_CAP_SYNC_REGS; Intel SDM volume 3, 2.2 (modes of operation).
 */
import type { NativeKvmVcpu } from "../sys/native.ts";
import * as abi from "./abi.ts";
import { kvm_regs, kvm_run, kvm_segment, kvm_sregs, kvm_sync_regs } from "./abi.ts";
import { check } from "./errors.ts";

const MODE_REAL = 0;
const MODE_PROTECTED = 1;
const MODE_VIRTUAL_8086 = 2;
const MODE_COMPATIBILITY = 3;
const MODE_LONG = 4;

const WITH_SREGS = abi.KVM_SYNC_X86_REGS | abi.KVM_SYNC_X86_SREGS;

const CR0_PE = 0x1;
const EFER_LMA = 0x400;
const RFLAGS_VM = 0x2_0000;

/** Registers that `copy` copies, 64 bits each: kvm_regs in its order, then cs, ss, cr0, cr2, cr3, cr4, efer. */
export const COPIED_REGISTERS = kvm_regs.sizeof / 8 + 7;

const CONTROL = [kvm_sregs.cr0, kvm_sregs.cr2, kvm_sregs.cr3, kvm_sregs.cr4, kvm_sregs.efer] as const;

export class ExitRegisters {
  readonly #native: NativeKvmVcpu;
  /** True if KVM can fill the two below at an exit. */
  readonly #synced: boolean;
  /** True if the special registers are those of this exit. */
  #hasSregs = false;
  readonly #valid: Uint32Array;
  readonly #regs: Uint8Array;
  readonly #sregs: Uint8Array;
  /** The same bytes in words. */
  readonly #regsWords: Uint32Array;
  readonly #sregsWords: Uint32Array;
  readonly #sregsHalves: Uint16Array;

  /**
   * @param page   the vCPU's kvm_run page
   * @param synced KVM_CAP_SYNC_REGS has KVM_SYNC_X86_REGS and KVM_SYNC_X86_SREGS
   */
  constructor(handle: NativeKvmVcpu, page: ArrayBufferLike, synced: boolean) {
    this.#native = handle;
    this.#synced = synced;
    this.#valid = new Uint32Array(page, kvm_run.kvm_valid_regs, 1);
    const own = new ArrayBuffer(kvm_regs.sizeof + kvm_sregs.sizeof);
    const buffer = synced ? page : own;
    const regs = synced ? kvm_run.s + kvm_sync_regs.regs : 0;
    const sregs = synced ? kvm_run.s + kvm_sync_regs.sregs : kvm_regs.sizeof;
    this.#regs = new Uint8Array(buffer, regs, kvm_regs.sizeof);
    this.#sregs = new Uint8Array(buffer, sregs, kvm_sregs.sizeof);
    this.#regsWords = new Uint32Array(buffer, regs, kvm_regs.sizeof / 4);
    this.#sregsWords = new Uint32Array(buffer, sregs, kvm_sregs.sizeof / 4);
    this.#sregsHalves = new Uint16Array(buffer, sregs, kvm_sregs.sizeof / 2);
  }

  /** From now on each exit brings the registers along. */
  start(): void {
    if (this.#synced) this.#valid[0] = WITH_SREGS;
  }

  /** No longer: it costs the kernel time at every exit. */
  stop(): void {
    this.#valid[0] = 0;
  }

  /** After `run`, before anything below is read. @param all the special registers too, whatever RIP is */
  update(all: boolean): void {
    if (!this.#synced) {
      check(this.#native.getRegs(this.#regs), "ioctl(KVM_GET_REGS)", "reading registers");
    }
    const wanted = all || this.ripHigh === 0;
    this.#hasSregs = this.#synced && this.#valid[0] === WITH_SREGS;
    if (wanted && !this.#hasSregs) {
      check(this.#native.getSregs(this.#sregs), "ioctl(KVM_GET_SREGS)", "reading special registers");
      this.#hasSregs = true;
    }
    // The next exit is most likely one of the same kind.
    if (this.#synced) this.#valid[0] = wanted ? WITH_SREGS : abi.KVM_SYNC_X86_REGS;
  }

  get ripLow(): number {
    return this.#regsWords[kvm_regs.rip >> 2];
  }

  get ripHigh(): number {
    return this.#regsWords[(kvm_regs.rip >> 2) + 1];
  }

  /** MODE_*: what the CPU was doing. */
  get mode(): number {
    if (!this.#hasSregs) return MODE_LONG;
    const sregs = this.#sregsWords;
    if ((sregs[kvm_sregs.cr0 >> 2] & CR0_PE) === 0) return MODE_REAL;
    if ((sregs[kvm_sregs.efer >> 2] & EFER_LMA) !== 0) {
      return this.#sregs[kvm_sregs.cs + kvm_segment.l] !== 0 ? MODE_LONG : MODE_COMPATIBILITY;
    }
    return (this.#regsWords[kvm_regs.rflags >> 2] & RFLAGS_VM) !== 0 ? MODE_VIRTUAL_8086 : MODE_PROTECTED;
  }

  /** The linear address of the instruction at RIP; after `update(true)`. Allocates. */
  get linearRip(): bigint {
    const rip = (BigInt(this.ripHigh) << 32n) | BigInt(this.ripLow);
    if (this.mode === MODE_LONG) return rip;
    return (BigInt(this.#sregsWords[(kvm_sregs.cs + kvm_segment.base) >> 2]) + rip) & 0xffff_ffffn;
  }

  /** After `update(true)`: copies COPIED_REGISTERS registers to `words` from `at` on, two words each, low half first. */
  copy(words: Uint32Array, at: number): void {
    words.set(this.#regsWords, at);
    let next = at + this.#regsWords.length;
    const put = (low: number, high: number) => {
      words[next++] = low;
      words[next++] = high;
    };
    put(this.#sregsHalves[(kvm_sregs.cs + kvm_segment.selector) >> 1], 0);
    put(this.#sregsHalves[(kvm_sregs.ss + kvm_segment.selector) >> 1], 0);
    for (const register of CONTROL)
      put(this.#sregsWords[register >> 2], this.#sregsWords[(register >> 2) + 1]);
  }
}
