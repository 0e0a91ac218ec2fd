/**
 * Which of KVM_SET_GUEST_DEBUG's stops this host's KVM really makes: tried with
 * a guest of a few instructions, because no capability says it.
 *
 * Source: Linux api.rst, 4.87. A KVM in software has no INT3 and no watchpoints
 * for ring 0. An emulated AMD-V (QEMU's) neither intercepts INT3 nor arms the
 * breakpoints of DR7. There, the guest would get an exception of the debugger's.
 */
import { GuestRam } from "../sys/guest-ram.ts";
import * as abi from "./abi.ts";
import { Kvm } from "./system.ts";
import type { GuestDebug, Vcpu } from "./vcpu.ts";

export interface GuestDebugAbilities {
  /** An INT3 of the debugger's. */
  readonly int3: boolean;
  /** An instruction whose address is in a debug register. */
  readonly breakpoints: boolean;
  /** An access to what a debug register watches. */
  readonly watchpoints: boolean;
}

const CODE = 0x1000;
const WATCHED = 0x2000;
const RAM = 0x10000;
/** The address of KVM's own pages on Intel: outside RAM. */
const TSS = 0xfffb_d000;

const INT3_HLT = [0xcc, 0xf4];
const NOP_HLT = [0x90, 0xf4];
const STORE_HLT = [0xc6, 0x05, 0x00, 0x20, 0x00, 0x00, 0x01, 0xf4]; // mov byte [0x2000], 1

/** GE, G0; for a watchpoint also R/W0 = write. */
const EXECUTE_0 = 0x602n;
const WRITE_0 = 0x1_0602n;

/** @throws {KvmError} if there is no KVM at `path`. */
export function probeGuestDebug(path: string): GuestDebugAbilities {
  using kvm = Kvm.open(path);
  using vm = kvm.createVm();
  vm.setTssAddr(TSS);
  using ram = GuestRam.create(RAM);
  vm.setUserMemoryRegion({ slot: 0, address: 0, ram });
  using vcpu = vm.createVcpu(0);
  const memory = new Uint8Array(ram.map(0, RAM));
  const stops = (code: readonly number[], debug: GuestDebug) => {
    memory.set(code, CODE);
    enterProtectedMode(vcpu);
    vcpu.setGuestDebug(debug);
    return vcpu.run() === abi.KVM_EXIT_DEBUG;
  };
  const watch = (address: number, dr7: bigint) => ({ hardware: { addresses: [BigInt(address)], dr7 } });
  return {
    breakpoints: stops(NOP_HLT, watch(CODE + 1, EXECUTE_0)),
    watchpoints: stops(STORE_HLT, watch(WATCHED, WRITE_0)),
    // Last, because it is a triple fault if nothing intercepts it.
    int3: stops(INT3_HLT, { softwareBreakpoints: true }),
  };
}

/** Flat 32-bit segments, paging off, no interrupt table: every exception is a shutdown, and HLT an exit. */
function enterProtectedMode(vcpu: Vcpu): void {
  const flat = { base: 0, limit: 0xffff_ffff, s: 1, present: 1, g: 1, db: 1, l: 0, dpl: 0, unusable: 0 };
  const data = { ...flat, selector: 0x10, type: 3 };
  const code = { ...flat, selector: 0x08, type: 11 };
  vcpu.changeSregs({ cr0: 0x11, cs: code, ds: data, es: data, ss: data, idt: { base: 0, limit: 0 } });
  vcpu.changeRegs({ rip: CODE, rsp: RAM, rflags: 2 });
}
