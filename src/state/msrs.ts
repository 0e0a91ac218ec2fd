/**
 * All MSRs that a guest's state consists of, read and set although KVM stops at
 * the first one that it refuses.
 *
 * Source: Linux api.rst, 4.3 KVM_GET_MSR_INDEX_LIST, 4.18 and 4.19; Intel SDM
 * volume 4, table 2-2.
 */
import type { MsrEntry } from "../kvm/msr.ts";
import type { Vcpu } from "../kvm/vcpu.ts";

const IA32_TSC = 0x10;
/** The deadline of the local APIC's timer: to be set after the APIC and the TSC. */
const IA32_TSC_DEADLINE = 0x6e0;

const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, n) => first + n);

/** Not in every kernel's list, but part of the state: the MTRRs and the PAT. */
const MEMORY_TYPES = [
  ...range(0x200, 0x20f),
  0x250,
  0x258,
  0x259,
  ...range(0x268, 0x26f),
  0x277,
  0x2ff,
  IA32_TSC_DEADLINE,
];

/** Those to read. @param list what KVM_GET_MSR_INDEX_LIST gave */
export function msrsToSave(list: Iterable<number>): number[] {
  return [...new Set([...list, ...MEMORY_TYPES])];
}

/** Those of `indices` that KVM lets us read. */
export function readMsrs(vcpu: Pick<Vcpu, "getMsrs">, indices: readonly number[]): MsrEntry[] {
  const entries: MsrEntry[] = [];
  for (let from = 0; from < indices.length; ) {
    const got = vcpu.getMsrs(indices.slice(from));
    entries.push(...got);
    from += got.length + 1; // past the one that was refused
  }
  return entries;
}

/** The same, with a TSC that has counted `ticks` more. */
export function withTscAhead(entries: readonly MsrEntry[], ticks: bigint): MsrEntry[] {
  return entries.map((entry) =>
    entry.index === IA32_TSC ? { ...entry, data: BigInt.asUintN(64, entry.data + ticks) } : entry,
  );
}

/**
 * Sets all of them, the deadline of the timer last.
 * @returns those that KVM refused although the CPU has another value now
 */
export function setMsrs(
  vcpu: Pick<Vcpu, "getMsrs" | "setMsrs">,
  entries: readonly MsrEntry[],
): readonly MsrEntry[] {
  const deadline = entries.filter(({ index }) => index === IA32_TSC_DEADLINE);
  const ordered = [...entries.filter(({ index }) => index !== IA32_TSC_DEADLINE), ...deadline];
  const refused: MsrEntry[] = [];
  for (let from = 0; from < ordered.length; ) {
    const done = vcpu.setMsrs(ordered.slice(from));
    from += done;
    if (from < ordered.length) refused.push(ordered[from++]);
  }
  // A read-only one that has the value already is as it should be, and so is one of 0 that does not exist.
  return refused.filter(({ index, data }) => (vcpu.getMsrs([index])[0]?.data ?? 0n) !== data);
}
