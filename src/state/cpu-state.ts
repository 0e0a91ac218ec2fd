/**
 * One vCPU as sections: everything that KVM keeps of it. Each section is a struct
 * of the KVM API, so a kernel that reads it later knows what it means.
 *
 * Source: Linux api.rst, section 4, the calls named at each section. The order in
 * which they are made matters. Reading: KVM_GET_MP_STATE delivers INIT and SIPI,
 * so it comes first, and KVM_GET_VCPU_EVENTS last. Setting: the APIC's base is in
 * the special registers, its timer's mode in the APIC, the timer's deadline in an
 * MSR; and what is pending comes last.
 */

import { hex } from "../base/hex.ts";
import * as abi from "../kvm/abi.ts";
import type { CpuidEntry } from "../kvm/cpuid.ts";
import { readCpuid, writeCpuid } from "../kvm/cpuid.ts";
import { KvmError } from "../kvm/errors.ts";
import { readMsrs as decodeMsrs, type MsrEntry, writeMsrs } from "../kvm/msr.ts";
import { readRegs, readSregs, writeRegs, writeSregs } from "../kvm/registers.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import { readMsrs, setMsrs, withTscAhead } from "./msrs.ts";
import type { Section } from "./sections.ts";

/** What a machine's KVM can do, as far as it decides which calls are made. */
export interface CpuCalls {
  /** KVM_CAP_SREGS2. */
  readonly sregs2: boolean;
  /** See msrsToSave. */
  readonly msrs: readonly number[];
}

/** Its size depends on the features of the host; components are aligned to this (SDM volume 1, 13.4.3). */
const XSAVE_UNIT = 64;
const CR4_VMXE = 1n << 13n;
const EFER_SVME = 1n << 12n;

/** The names of the sections of vCPU `index`. */
const nameOf = (index: number, what: string) => `cpu${index}/${what}`;

/** A guest that is a hypervisor itself has state that is not saved. */
export function isHypervisor(vcpu: Vcpu): boolean {
  const { cr4, efer } = vcpu.getSregs();
  return (BigInt(cr4) & CR4_VMXE) !== 0n || (BigInt(efer) & EFER_SVME) !== 0n;
}

/** To be called while no thread is in the vCPU, and no exit waits for its answer. */
export function saveCpu(vcpu: Vcpu, index: number, calls: CpuCalls): Section[] {
  const section = (what: string, bytes: Uint8Array): Section => {
    return { name: nameOf(index, what), version: 1, bytes };
  };
  const mpState = Uint8Array.of(vcpu.getMpState(), 0, 0, 0);
  const regs = new Uint8Array(abi.kvm_regs.sizeof);
  writeRegs(regs, vcpu.getRegs());
  const sregs = new Uint8Array(abi.kvm_sregs.sizeof);
  writeSregs(sregs, vcpu.getSregs());
  const khz = new Uint8Array(4);
  new DataView(khz.buffer).setUint32(0, tscKhz(vcpu), true);
  return [
    section("mp-state", mpState),
    section("regs", regs),
    section("sregs", sregs),
    ...(calls.sregs2 ? [section("sregs2", vcpu.getSregs2())] : []),
    section("xsave", vcpu.getXsave()),
    section("xcrs", vcpu.getXcrs()),
    section("debugregs", vcpu.getDebugregs()),
    section("lapic", vcpu.getLapic()),
    section("cpuid", bytesOf(writeCpuid(vcpu.cpuid))),
    section("tsc-khz", khz),
    section("msrs", writeMsrs(readMsrs(vcpu, calls.msrs))),
    section("events", vcpu.getVcpuEvents()),
  ];
}

/** One vCPU as it is in a snapshot. Each length was checked. */
export interface CpuState {
  readonly mpState: number;
  readonly regs: Uint8Array;
  readonly sregs: Uint8Array;
  readonly sregs2: Uint8Array | undefined;
  readonly xsave: Uint8Array;
  readonly xcrs: Uint8Array;
  readonly debugregs: Uint8Array;
  readonly lapic: Uint8Array;
  readonly cpuid: readonly CpuidEntry[];
  /** 0 if KVM did not say. */
  readonly tscKhz: number;
  readonly msrs: readonly MsrEntry[];
  readonly events: Uint8Array;
}

/** Takes the bytes of a section of a length, or of a multiple of one. */
export interface SectionReader {
  exactly(name: string, bytes: number): Uint8Array;
  arrayOf(name: string, bytes: number): Uint8Array;
  has(name: string): boolean;
}

/** Of all CPUs. @throws {SnapshotError} for a section that is missing or of another size */
export function readCpuStates(sections: SectionReader): CpuState[] {
  const cpus = [readCpuState(0, sections)];
  while (sections.has(nameOf(cpus.length, "regs"))) cpus.push(readCpuState(cpus.length, sections));
  return cpus;
}

function readCpuState(index: number, sections: SectionReader): CpuState {
  const exactly = (what: string, bytes: number) => sections.exactly(nameOf(index, what), bytes);
  const cpuid = sections.arrayOf(nameOf(index, "cpuid"), abi.kvm_cpuid_entry2.sizeof);
  const msrs = sections.arrayOf(nameOf(index, "msrs"), abi.kvm_msr_entry.sizeof);
  const sregs2 = nameOf(index, "sregs2");
  return {
    mpState: wordOf(exactly("mp-state", 4)),
    regs: exactly("regs", abi.kvm_regs.sizeof),
    sregs: exactly("sregs", abi.kvm_sregs.sizeof),
    sregs2: sections.has(sregs2) ? sections.exactly(sregs2, abi.kvm_sregs2.sizeof) : undefined,
    xsave: sections.arrayOf(nameOf(index, "xsave"), XSAVE_UNIT),
    xcrs: exactly("xcrs", abi.kvm_xcrs.sizeof),
    debugregs: exactly("debugregs", abi.kvm_debugregs.sizeof),
    lapic: exactly("lapic", abi.kvm_lapic_state.sizeof),
    cpuid: readCpuid(new Uint32Array(cpuid.slice().buffer)),
    tscKhz: wordOf(exactly("tsc-khz", 4)),
    msrs: decodeMsrs(msrs, msrs.length / abi.kvm_msr_entry.sizeof),
    events: exactly("events", abi.kvm_vcpu_events.sizeof),
  };
}

/**
 * Makes a new vCPU what `state` says; guest RAM, the clock and the interrupt
 * controllers were restored before.
 *
 * @param cpuid what the guest is to see
 * @param passedNs the time since then that the TSC is to show
 * @returns what this host's CPU or KVM does not take of it, by name
 * @throws {KvmError} for all else that KVM refused
 */
export function restoreCpu(
  vcpu: Vcpu,
  state: CpuState,
  cpuid: readonly CpuidEntry[],
  calls: CpuCalls,
  passedNs = 0,
): readonly string[] {
  vcpu.setCpuid(cpuid);
  const hasFrequency = setTscKhz(vcpu, state.tscKhz);
  const msrs = passedNs === 0 ? state.msrs : withTscAhead(state.msrs, ticks(passedNs, state.tscKhz));
  const refused = setCpu(vcpu, { ...state, msrs }, calls);
  return hasFrequency ? refused : [`a TSC of ${state.tscKhz} kHz`, ...refused];
}

/**
 * Makes a vCPU that has run what it was before.
 * @returns as restoreCpu
 */
export function rewindCpu(vcpu: Vcpu, state: CpuState, calls: CpuCalls): readonly string[] {
  // Interrupts that are on their way arrive now, and are replaced with the rest: KVM_GET_MP_STATE
  // takes INIT and SIPI, KVM_GET_LAPIC what was posted for the CPU.
  vcpu.getMpState();
  vcpu.getLapic();
  return setCpu(vcpu, state, calls);
}

/** All but what KVM refuses of a vCPU that has run: CPUID and the TSC's frequency, which do not change. */
function setCpu(vcpu: Vcpu, state: CpuState, calls: CpuCalls): readonly string[] {
  const refused: string[] = [];
  const attempt = (what: string, set: () => void) => {
    if (!succeeds(set)) refused.push(what);
  };
  if (calls.sregs2 && state.sregs2 !== undefined) vcpu.setSregs2(state.sregs2);
  else vcpu.setSregs(readSregs(state.sregs));
  vcpu.setRegs(readRegs(state.regs));
  attempt("the XSAVE area", () => vcpu.setXsave(fitting(state.xsave, vcpu.getXsave().length)));
  // A CPU without XSAVE has none, and KVM refuses to be given none.
  if (wordOf(state.xcrs) > 0) attempt("XCR0", () => vcpu.setXcrs(state.xcrs));
  vcpu.setDebugregs(state.debugregs);
  vcpu.setLapic(state.lapic);
  refused.push(...setMsrs(vcpu, state.msrs).map(({ index }) => `MSR ${hex(index)}`));
  vcpu.setMpState(state.mpState);
  vcpu.setVcpuEvents(state.events);
  return refused;
}

/** So that the guest's watchdog does not take the time in the snapshot for a hang. Guests without a pvclock have none. */
export function announcePause(vcpu: Vcpu): void {
  succeeds(() => vcpu.kvmclockCtrl());
}

function succeeds(call: () => void): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (error instanceof KvmError) return false;
    throw error;
  }
}

function tscKhz(vcpu: Vcpu): number {
  try {
    return vcpu.tscKhz;
  } catch (error) {
    if (error instanceof KvmError) return 0;
    throw error;
  }
}

/** @param khz 0: not known, and its TSC does not move */
function ticks(ns: number, khz: number): bigint {
  return (BigInt(ns) * BigInt(khz)) / 1_000_000n;
}

/**
 * KVM takes what is within its tolerance, and what the CPU can scale.
 * @param khz 0 for any @returns whether it was taken
 */
function setTscKhz(vcpu: Vcpu, khz: number): boolean {
  if (khz === 0 || khz === tscKhz(vcpu)) return true;
  return succeeds(() => {
    vcpu.tscKhz = khz;
  });
}

/** A host with more features has a larger area; what is behind the smaller one is in its initial state: zero. */
function fitting(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length >= length) return bytes;
  const longer = new Uint8Array(length);
  longer.set(bytes);
  return longer;
}

function wordOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
