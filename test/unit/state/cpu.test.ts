import { expect, test } from "vitest";
import type { CpuidEntry } from "../../../src/kvm/cpuid.ts";
import type { MsrEntry } from "../../../src/kvm/msr.ts";
import { cpuDifferences } from "../../../src/state/cpu-differences.ts";
import { msrsToSave, readMsrs, setMsrs, withTscAhead } from "../../../src/state/msrs.ts";

const entry = (leaf: number, registers: Partial<CpuidEntry>): CpuidEntry => {
  return { function: leaf, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
};
const INTEL = entry(0, { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e });
const AMD = entry(0, { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 });

test("a host with more features is the same; those that it lacks are named", () => {
  const guest = [INTEL, entry(1, { ecx: (1 << 28) | (1 << 27) }), entry(7, { ebx: 1 << 5, edx: 1 << 1 })];
  expect(cpuDifferences(guest, guest)).toEqual([]);
  expect(cpuDifferences(guest, [INTEL, entry(1, { ecx: -1 }), entry(7, { ebx: -1, edx: -1 })])).toEqual([]);
  // OSXSAVE follows CR4, and is not a feature of the host.
  expect(cpuDifferences(guest, [INTEL])).toEqual(["avx", "avx2", "CPUID 0x7.0 edx bit 1"]);
});

test("a CPU of another vendor, and one with fewer address bits, are named", () => {
  expect(cpuDifferences([INTEL], [AMD])).toEqual(["a CPU of GenuineIntel, and this one is of AuthenticAMD"]);
  const bits = (eax: number) => [INTEL, entry(0x8000_0008, { eax })];
  expect(cpuDifferences(bits(46), bits(39))).toEqual(["physical addresses of 46 bits (here: 39)"]);
  expect(cpuDifferences(bits(39), bits(46))).toEqual([]);
});

/** A vCPU that has some MSRs, of which some cannot be written; it stops at the first that it refuses, as KVM does. */
class Msrs {
  readonly values: Map<number, bigint>;
  readonly readOnly: readonly number[];
  readonly order: number[] = [];

  constructor(values: [number, bigint][], readOnly: readonly number[] = []) {
    this.values = new Map(values);
    this.readOnly = readOnly;
  }

  getMsrs(indices: Iterable<number>): MsrEntry[] {
    const got: MsrEntry[] = [];
    for (const index of indices) {
      const data = this.values.get(index);
      if (data === undefined) break;
      got.push({ index, data });
    }
    return got;
  }

  setMsrs(entries: readonly MsrEntry[]): number {
    let done = 0;
    for (const { index, data } of entries) {
      if (!this.values.has(index) || this.readOnly.includes(index)) break;
      this.values.set(index, data);
      this.order.push(index);
      done++;
    }
    return done;
  }
}

test("MSRs are read past those that KVM refuses", () => {
  const vcpu = new Msrs([
    [1, 10n],
    [3, 30n],
    [6, 60n],
  ]);
  expect(readMsrs(vcpu, [0, 1, 2, 3, 4, 5, 6, 7])).toEqual([
    { index: 1, data: 10n },
    { index: 3, data: 30n },
    { index: 6, data: 60n },
  ]);
});

test("MSRs are set, the timer's deadline last; only those that stay different are named", () => {
  const deadline = 0x6e0;
  const vcpu = new Msrs(
    [
      [deadline, 0n],
      [1, 0n],
      [2, 7n],
      [3, 8n],
    ],
    [2, 3],
  );
  const refused = setMsrs(vcpu, [
    { index: deadline, data: 5n },
    { index: 1, data: 1n },
    { index: 2, data: 7n }, // has it already
    { index: 3, data: 9n },
    { index: 99, data: 0n }, // does not exist, and was zero
  ]);
  expect(refused).toEqual([{ index: 3, data: 9n }]);
  expect(vcpu.order).toEqual([1, deadline]);
});

test("memory types are saved although a kernel's list has none of them, and nothing twice", () => {
  const all = msrsToSave([0x10, 0x277]);
  expect(all).toContain(0x2ff);
  expect(new Set(all).size).toBe(all.length);
});

test("a TSC that is ahead counts on from there, round the end of 64 bits too; nothing else changes", () => {
  const others = [
    { index: 0x3b, data: 4n },
    { index: 0x6e0, data: 5n },
  ];
  const after = (tsc: bigint, ticks: bigint) => withTscAhead([{ index: 0x10, data: tsc }, ...others], ticks);
  expect(after(100n, 2_500_000n)).toEqual([{ index: 0x10, data: 2_500_100n }, ...others]);
  expect(after(2n ** 64n - 1n, 3n)[0]).toEqual({ index: 0x10, data: 2n });
});
