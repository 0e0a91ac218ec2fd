/**
 * Converts CPUID entries between the kernel's structs and objects. The contents of a
 * guest's CPUID are decided elsewhere.
 *
 * Source: Linux api.rst, 4.46 KVM_GET_SUPPORTED_CPUID (struct kvm_cpuid_entry2).
 */
import { kvm_cpuid_entry2 } from "./abi.ts";

const WORDS = kvm_cpuid_entry2.sizeof / 4;

const FIELDS = ["function", "index", "flags", "eax", "ebx", "ecx", "edx"] as const;

/** struct kvm_cpuid_entry2; all unsigned 32-bit numbers. */
export type CpuidEntry = { readonly [K in (typeof FIELDS)[number]]: number };

/** Entries from the words of an array of structs. */
export function readCpuid(words: Uint32Array): CpuidEntry[] {
  const entries: CpuidEntry[] = [];
  for (let at = 0; at + WORDS <= words.length; at += WORDS) {
    entries.push({
      function: words[at + kvm_cpuid_entry2.function / 4],
      index: words[at + kvm_cpuid_entry2.index / 4],
      flags: words[at + kvm_cpuid_entry2.flags / 4],
      eax: words[at + kvm_cpuid_entry2.eax / 4],
      ebx: words[at + kvm_cpuid_entry2.ebx / 4],
      ecx: words[at + kvm_cpuid_entry2.ecx / 4],
      edx: words[at + kvm_cpuid_entry2.edx / 4],
    });
  }
  return entries;
}

/** The words of an array of structs. */
export function writeCpuid(entries: readonly CpuidEntry[]): Uint32Array {
  const words = new Uint32Array(entries.length * WORDS);
  entries.forEach((entry, i) => {
    for (const field of FIELDS) words[i * WORDS + kvm_cpuid_entry2[field] / 4] = entry[field];
  });
  return words;
}

/** Room for `count` entries. */
export function cpuidWords(count: number): Uint32Array {
  return new Uint32Array(count * WORDS);
}
