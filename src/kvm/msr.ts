/**
 * Model-specific registers: between the kernel's structs and objects.
 *
 * Source: Linux api.rst, 4.18 KVM_GET_MSRS (struct kvm_msr_entry).
 */
import { kvm_msr_entry } from "./abi.ts";

export interface MsrEntry {
  readonly index: number;
  readonly data: bigint;
}

/** The bytes of an array of structs. */
export function writeMsrs(entries: readonly MsrEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * kvm_msr_entry.sizeof);
  const data = new DataView(bytes.buffer);
  entries.forEach((entry, i) => {
    data.setUint32(i * kvm_msr_entry.sizeof + kvm_msr_entry.index, entry.index, true);
    data.setBigUint64(i * kvm_msr_entry.sizeof + kvm_msr_entry.data, entry.data, true);
  });
  return bytes;
}

/** The first `count` entries of an array of structs. */
export function readMsrs(bytes: Uint8Array, count: number): MsrEntry[] {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: count }, (_, i) => ({
    index: data.getUint32(i * kvm_msr_entry.sizeof + kvm_msr_entry.index, true),
    data: data.getBigUint64(i * kvm_msr_entry.sizeof + kvm_msr_entry.data, true),
  }));
}
