import { expect, test } from "vitest";
import { type CpuidEntry, guestCpuid } from "../../../src/machine/cpuid.ts";
import { singleSocket } from "../../../src/machine/topology.ts";

const COUNTS = [1, 2, 3, 4, 5, 64, 300];

type Registers = Partial<Pick<CpuidEntry, "eax" | "ebx" | "ecx" | "edx">>;

function entry(leaf: number, registers: Registers, index = 0, flags = 0): CpuidEntry {
  return { function: leaf, index, flags, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
}

const KVM = [
  entry(0x40000000, { eax: 0x40000001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
  entry(0x40000001, { eax: 0x01007efb }),
];

/** As KVM says it on an Intel host of 8 cores with 2 threads each. */
const INTEL: CpuidEntry[] = [
  entry(0, { eax: 0x1f, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 }),
  entry(1, { eax: 0x806f8, ebx: 0x07100800, ecx: 0x76fa3203 | (1 << 15), edx: 0x0f8bfbff }),
  entry(4, { eax: 0xfc004121, ebx: 0x02c0003f, ecx: 63 }, 0, 1),
  entry(4, { eax: 0xfc01c163, ebx: 0x03c0003f, ecx: 32767 }, 3, 1),
  entry(4, {}, 4, 1),
  entry(0xa, { eax: 0x08300802, edx: 0x603 }),
  entry(0xb, { eax: 1, ebx: 2, ecx: 0x100, edx: 7 }, 0, 1),
  entry(0xb, { eax: 4, ebx: 16, ecx: 0x201, edx: 7 }, 1, 1),
  entry(0x1f, { eax: 1, ebx: 2, ecx: 0x100, edx: 7 }, 0, 1),
  ...KVM,
  entry(0x80000001, { ecx: 0x121, edx: 0x2c100800 }),
  entry(0x80000008, { eax: 0x302e, ebx: 0x200 }),
];

/** As KVM says it on an AMD host. */
const AMD: CpuidEntry[] = [
  entry(0, { eax: 0x10, ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 }),
  entry(1, { eax: 0xa10f11, ebx: 0x03080800, ecx: 0xfef83203, edx: 0x178bfbff }),
  entry(0xb, { eax: 0, ebx: 1, ecx: 0x100, edx: 3 }, 0, 1),
  ...KVM,
  entry(0x80000001, { ecx: 0x75c237ff, edx: 0x2fd3fbff }),
  entry(0x80000008, { eax: 0x3030, ebx: 0x1108d205, ecx: 0x3007 }),
  entry(0x8000001d, { eax: 0x121, ebx: 0x01c0003f, ecx: 63 }, 0, 1),
  entry(0x8000001d, { eax: 0x3c163, ebx: 0x03c0003f, ecx: 32767 }, 3, 1),
  entry(0x8000001e, { eax: 3, ebx: 0x101, ecx: 0x100 }),
  entry(0x80000022, { eax: 3, ebx: 0x206 }),
];

function get(entries: readonly CpuidEntry[], leaf: number, index = 0): CpuidEntry {
  const found = entries.filter((candidate) => candidate.function === leaf && candidate.index === index);
  if (found.length !== 1) throw new Error(`${found.length} entries for 0x${leaf.toString(16)}.${index}`);
  return found[0];
}

const intel = (index: number, count: number, tscDeadlineTimer = true) =>
  guestCpuid(INTEL, { index, topology: singleSocket(count) }, { tscDeadlineTimer });
const amd = (index: number, count: number) =>
  guestCpuid(AMD, { index, topology: singleSocket(count) }, { tscDeadlineTimer: true });
const bit = (value: number, number: number) => (value >>> number) & 1;
const bits = (value: number, high: number, low: number) => (value >>> low) & (2 ** (high - low + 1) - 1);

test.each(COUNTS)("of %i CPUs, each has its own APIC id and all are cores of one package", (count) => {
  for (const [supported, leaves] of [
    [INTEL, [0xb, 0x1f]],
    [AMD, [0xb]],
  ] as const) {
    for (const leaf of leaves) {
      for (let index = 0; index < count; index++) {
        const entries = guestCpuid(
          supported,
          { index, topology: singleSocket(count) },
          { tscDeadlineTimer: true },
        );
        const [smt, core, end] = [0, 1, 2].map((subleaf) => get(entries, leaf, subleaf));
        expect([smt.edx, core.edx, end.edx]).toEqual([index, index, index]);
        expect([smt.eax, smt.ebx, smt.ecx]).toEqual([0, 1, 0x100]);
        expect([core.ebx, core.ecx]).toEqual([count, 0x201]);
        expect(index >> core.eax, "package").toBe(0);
        expect(2 ** core.eax).toBeLessThan(count === 1 ? 2 : 2 * count);
        expect([end.eax, end.ebx, bits(end.ecx, 15, 8)]).toEqual([0, 0, 0]);
        expect([smt.flags, core.flags, end.flags]).toEqual([1, 1, 1]);
      }
    }
  }
});

test.each(COUNTS)(
  "leaf 1 says %i logical CPUs and the initial APIC id, and keeps what is the CPU's own",
  (count) => {
    const index = count - 1;
    const { eax, ebx, edx } = get(intel(index, count), 1);
    expect(eax).toBe(0x806f8);
    expect(bits(ebx, 15, 0)).toBe(0x0800); // CLFLUSH size
    expect(bits(ebx, 23, 16)).toBe(Math.min(count, 255));
    expect(bits(ebx, 31, 24)).toBe(index % 256);
    expect(bit(edx, 28)).toBe(count > 1 ? 1 : 0); // HTT
  },
);

test("a guest knows that it is one, on KVM, with x2APIC", () => {
  for (const entries of [intel(0, 2), amd(0, 2)]) {
    const { ecx } = get(entries, 1);
    expect(bit(ecx, 31)).toBe(1);
    expect(bit(ecx, 21)).toBe(1);
    const { eax, ebx, ecx: c, edx } = get(entries, 0x40000000);
    const signature = new TextDecoder().decode(new Uint8Array(new Uint32Array([ebx, c, edx]).buffer));
    expect(signature).toBe("KVMKVMKVM\0\0\0");
    expect(eax).toBe(0x40000001);
    expect(get(entries, 0x40000001).eax).toBe(0x01007efb);
  }
});

test("a KVM that does not name its own leaves still gets its signature", () => {
  const entries = guestCpuid(
    INTEL.filter((candidate) => !KVM.includes(candidate)),
    { index: 0, topology: singleSocket(1) },
    { tscDeadlineTimer: false },
  );
  expect(get(entries, 0x40000000)).toEqual(KVM[0]);
  expect(get(entries, 0x40000001).eax).toBe(0);
});

test("the TSC deadline timer is there if KVM has it, whatever the list of leaves says", () => {
  expect(bit(get(intel(0, 1, true), 1).ecx, 24)).toBe(1);
  expect(bit(get(intel(0, 1, false), 1).ecx, 24)).toBe(0);
});

test.each([
  [1, 0, 0],
  [2, 1, 1],
  [3, 3, 3],
  [4, 3, 3],
  [64, 63, 63],
  [300, 511, 63],
])("on Intel, %i CPUs share the last cache and no other", (count, sharing, cores) => {
  const entries = intel(0, count);
  expect(bits(get(entries, 4, 0).eax, 25, 14)).toBe(0);
  expect(bits(get(entries, 4, 3).eax, 25, 14)).toBe(sharing);
  expect(bits(get(entries, 4, 3).eax, 31, 26)).toBe(cores);
  expect(bits(get(entries, 4, 3).eax, 13, 0)).toBe(0x163 | 0); // type, level, flags stay
  expect(get(entries, 4, 4)).toEqual(entry(4, {}, 4, 1));
});

test.each(COUNTS)("on AMD, %i CPUs are counted in every leaf that counts cores", (count) => {
  const index = count - 1;
  const entries = amd(index, count);
  expect(bit(get(entries, 0x80000001).ecx, 1)).toBe(count > 1 ? 1 : 0); // CmpLegacy
  const sizes = get(entries, 0x80000008);
  expect(bits(sizes.ecx, 7, 0)).toBe(Math.min(count - 1, 255));
  expect(2 ** bits(sizes.ecx, 15, 12)).toBeGreaterThanOrEqual(count);
  expect(sizes.eax).toBe(0x3030);
  const ids = get(entries, 0x8000001e);
  expect([ids.eax, ids.ebx, ids.ecx]).toEqual([index, index % 256, 0]);
  expect(bits(get(entries, 0x8000001d, 0).eax, 25, 14)).toBe(0);
  expect(bits(get(entries, 0x8000001d, 3).eax, 25, 14)).toBe(count - 1);
});

test("Intel's extended leaves are left as they are", () => {
  const entries = intel(3, 4);
  for (const leaf of [0x80000001, 0x80000008]) expect(get(entries, leaf)).toEqual(get(INTEL, leaf));
});

test("there are no performance counters for Linux to program", () => {
  const perfmon = get(intel(0, 2), 0xa);
  expect([perfmon.eax, perfmon.ebx, perfmon.ecx, perfmon.edx]).toEqual([0, 0, 0, 0]);
  expect(bit(get(intel(0, 2), 1).ecx, 15)).toBe(0); // PDCM
  expect(get(amd(0, 2), 0x80000022).eax).toBe(0);
  expect(bit(get(amd(0, 2), 0x80000001).ecx, 23)).toBe(0); // PerfCtrExtCore
});

test("no leaf of the host's topology is left over", () => {
  const host = [...AMD, entry(0x80000026, { eax: 1, ebx: 2, ecx: 0x100, edx: 3 }, 0, 1)];
  const entries = guestCpuid(host, { index: 0, topology: singleSocket(2) }, { tscDeadlineTimer: true });
  expect(entries.some((candidate) => candidate.function === 0x80000026)).toBe(false);
  expect(get(entries, 0xb, 0).edx).toBe(0);
});

test("every register is unsigned and every leaf appears once", () => {
  for (const entries of [intel(299, 300), amd(299, 300)]) {
    const keys = entries.map((candidate) => `${candidate.function}.${candidate.index}`);
    expect(new Set(keys).size).toBe(keys.length);
    for (const { eax, ebx, ecx, edx } of entries) {
      for (const register of [eax, ebx, ecx, edx]) {
        expect(Number.isInteger(register) && register >= 0 && register <= 0xffffffff).toBe(true);
      }
    }
  }
});
