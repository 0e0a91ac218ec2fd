/**
 * 32-bit protected mode in one step, set from outside: the state in which a Multiboot
 * loader enters a kernel. modes.ts shows how a guest gets there by itself.
 *
 * Source: Intel SDM volume 3, "Basic Flat Model"; struct kvm_sregs in api.rst, 4.13.
 */
import type { Vcpu } from "vmexit/kvm";

const CR0_PE = 0x01; // protection enabled; without PG a linear address is the physical one
const CR0_ET = 0x10; // always set since the 80486

const TYPE_CODE = 11; // execute, read, accessed
const TYPE_DATA = 3; // read, write, accessed

/** A segment of all 4 GiB, for 32-bit code or data, in ring 0. */
const FLAT = { base: 0, limit: 0xffff_ffff, present: 1, s: 1, g: 1, db: 1, l: 0, dpl: 0, unusable: 0 };

/**
 * Puts a CPU at `address` with flat segments and its stack below 0x1000. The
 * selectors refer to a table that does not exist: only the hidden part counts, until
 * the guest loads a segment register itself.
 */
export function startFlat(cpu: Vcpu, address: number): void {
  const data = { ...FLAT, type: TYPE_DATA, selector: 0x10 };
  cpu.changeSregs({
    cr0: CR0_PE | CR0_ET,
    cs: { ...FLAT, type: TYPE_CODE, selector: 0x08 },
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
  });
  cpu.changeRegs({ rip: address, rsp: 0x1000, rflags: 2 }); // bit 1 of the flags is always set
}
