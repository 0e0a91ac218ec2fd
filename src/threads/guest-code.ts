/**
 * The bytes of the instructions around a vCPU's RIP, read as the CPU reads
 * them: through the guest's present page tables.
 */
import { PAGE } from "../base/units.ts";
import type { Vcpu } from "../kvm/vcpu.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";

const NONE = new Uint8Array();

/** A copy of up to `length` bytes at a linear address; fewer where RAM or the mapping ends. */
export function codeAt(vcpu: Vcpu, memory: GuestMemory, linear: bigint, length: number): Uint8Array {
  const first = Math.min(length, PAGE - Number(linear & BigInt(PAGE - 1)));
  const start = inPage(vcpu, memory, linear, first);
  if (start.length < first || first === length) return start;
  const rest = inPage(vcpu, memory, BigInt.asUintN(64, linear + BigInt(first)), length - first);
  const bytes = new Uint8Array(first + rest.length);
  bytes.set(start);
  bytes.set(rest, first);
  return bytes;
}

/** A copy of up to `length` bytes in front of `linear`. */
export function codeBefore(vcpu: Vcpu, memory: GuestMemory, linear: bigint, length: number): Uint8Array {
  const far = codeAt(vcpu, memory, BigInt.asUintN(64, linear - BigInt(length)), length);
  if (far.length === length) return far;
  const near = Math.min(length, Number(linear & BigInt(PAGE - 1)));
  return inPage(vcpu, memory, linear - BigInt(near), near);
}

function inPage(vcpu: Vcpu, memory: GuestMemory, linear: bigint, length: number): Uint8Array {
  const physical = vcpu.translate(linear);
  const address = physical === undefined ? -1 : Number(physical.address);
  return memory.translate(address, length) < 0 ? NONE : memory.read(address, length);
}
