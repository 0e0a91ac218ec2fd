/**
 * What a snapshot's guest was shown of its CPU and this host does not have:
 * features that it may be using, by the names that /proc/cpuinfo gives them.
 *
 * Source: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Linux
 * arch/x86/include/asm/cpufeatures.h (names), Documentation/virt/kvm/x86/cpuid.rst.
 */
import { hex } from "../base/hex.ts";
import type { CpuidEntry } from "../kvm/cpuid.ts";

type Register = "eax" | "ebx" | "ecx" | "edx";

interface FeatureWord {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: Register;
  /** Names of bits, by number; others are named by their place. */
  readonly names: Readonly<Record<number, string>>;
  /** Bits that follow the guest's control registers. */
  readonly dynamic?: number;
}

const OSXSAVE = 1 << 27;
const OSPKE = 1 << 4;

const WORDS: readonly FeatureWord[] = [
  {
    ...{ leaf: 1, subleaf: 0, register: "ecx", dynamic: OSXSAVE },
    names: {
      ...{ 0: "sse3", 1: "pclmulqdq", 3: "monitor", 5: "vmx", 9: "ssse3", 12: "fma", 13: "cx16", 17: "pcid" },
      ...{ 19: "sse4_1", 20: "sse4_2", 21: "x2apic", 22: "movbe", 23: "popcnt", 24: "tsc_deadline_timer" },
      ...{ 25: "aes", 26: "xsave", 28: "avx", 29: "f16c", 30: "rdrand", 31: "hypervisor" },
    },
  },
  {
    ...{ leaf: 1, subleaf: 0, register: "edx" },
    names: {
      ...{
        0: "fpu",
        3: "pse",
        4: "tsc",
        5: "msr",
        6: "pae",
        8: "cx8",
        9: "apic",
        11: "sep",
        12: "mtrr",
        13: "pge",
      },
      ...{
        15: "cmov",
        16: "pat",
        17: "pse36",
        19: "clflush",
        23: "mmx",
        24: "fxsr",
        25: "sse",
        26: "sse2",
        28: "ht",
      },
    },
  },
  { leaf: 6, subleaf: 0, register: "eax", names: { 2: "arat" } },
  {
    ...{ leaf: 7, subleaf: 0, register: "ebx" },
    names: {
      ...{ 0: "fsgsbase", 1: "tsc_adjust", 3: "bmi1", 4: "hle", 5: "avx2", 7: "smep", 8: "bmi2", 9: "erms" },
      ...{
        10: "invpcid",
        11: "rtm",
        14: "mpx",
        16: "avx512f",
        17: "avx512dq",
        18: "rdseed",
        19: "adx",
        20: "smap",
      },
      ...{
        21: "avx512ifma",
        23: "clflushopt",
        24: "clwb",
        28: "avx512cd",
        29: "sha_ni",
        30: "avx512bw",
        31: "avx512vl",
      },
    },
  },
  {
    ...{ leaf: 7, subleaf: 0, register: "ecx", dynamic: OSPKE },
    names: {
      ...{
        1: "avx512vbmi",
        2: "umip",
        3: "pku",
        5: "waitpkg",
        6: "avx512_vbmi2",
        7: "user_shstk",
        8: "gfni",
        9: "vaes",
      },
      ...{
        10: "vpclmulqdq",
        11: "avx512_vnni",
        12: "avx512_bitalg",
        14: "avx512_vpopcntdq",
        16: "la57",
        22: "rdpid",
      },
      ...{ 25: "cldemote", 27: "movdiri", 28: "movdir64b" },
    },
  },
  {
    ...{ leaf: 7, subleaf: 0, register: "edx" },
    names: {
      ...{ 4: "fsrm", 10: "md_clear", 14: "serialize", 16: "tsxldtrk", 22: "amx_bf16", 23: "avx512_fp16" },
      ...{ 24: "amx_tile", 25: "amx_int8", 26: "ibrs", 27: "stibp", 29: "arch_capabilities", 31: "ssbd" },
    },
  },
  { leaf: 7, subleaf: 1, register: "eax", names: { 4: "avx_vnni", 5: "avx512_bf16" } },
  {
    ...{ leaf: 0xd, subleaf: 0, register: "eax" },
    names: {
      0: "x87 state",
      1: "SSE state",
      2: "AVX state",
      5: "AVX-512 state",
      9: "PKRU state",
      17: "AMX state",
    },
  },
  {
    leaf: 0xd,
    subleaf: 1,
    register: "eax",
    names: { 0: "xsaveopt", 1: "xsavec", 2: "xgetbv1", 3: "xsaves", 4: "xfd" },
  },
  {
    ...{ leaf: 0x4000_0001, subleaf: 0, register: "eax" },
    names: {
      ...{ 0: "kvmclock", 3: "kvmclock2", 4: "kvm async page faults", 5: "kvm steal time", 6: "kvm pv eoi" },
      ...{
        7: "kvm pv unhalt",
        9: "kvm pv tlb flush",
        11: "kvm pv send ipi",
        12: "kvm poll control",
        24: "stable kvmclock",
      },
    },
  },
  {
    ...{ leaf: 0x8000_0001, subleaf: 0, register: "ecx" },
    names: {
      0: "lahf_lm",
      2: "svm",
      5: "abm",
      6: "sse4a",
      7: "misalignsse",
      8: "3dnowprefetch",
      16: "fma4",
      22: "topoext",
    },
  },
  {
    ...{ leaf: 0x8000_0001, subleaf: 0, register: "edx" },
    names: { 11: "syscall", 20: "nx", 25: "fxsr_opt", 26: "pdpe1gb", 27: "rdtscp", 29: "lm" },
  },
  { leaf: 0x8000_0007, subleaf: 0, register: "edx", names: { 8: "constant_tsc" } },
  {
    ...{ leaf: 0x8000_0008, subleaf: 0, register: "ebx" },
    names: {
      0: "clzero",
      2: "xsaveerptr",
      9: "wbnoinvd",
      12: "amd_ibpb",
      14: "amd_ibrs",
      15: "amd_stibp",
      24: "amd_ssbd",
    },
  },
];

const LEAF_VENDOR = 0;
const LEAF_SIZES = 0x8000_0008;

/**
 * @param saved what the guest was shown; @param here what it would be shown on this host
 * @returns a phrase for each difference that a guest can meet; features that only this host has are none
 */
export function cpuDifferences(saved: readonly CpuidEntry[], here: readonly CpuidEntry[]): string[] {
  const vendors = [vendorOf(saved), vendorOf(here)];
  if (vendors[0] !== vendors[1]) return [`a CPU of ${vendors[0]}, and this one is of ${vendors[1]}`];
  const missing = WORDS.flatMap(({ leaf, subleaf, register, names, dynamic = 0 }) => {
    const has = entryOf(saved, leaf, subleaf)?.[register] ?? 0;
    const bits = has & ~(entryOf(here, leaf, subleaf)?.[register] ?? 0) & ~dynamic;
    return bitsOf(bits).map((bit) => names[bit] ?? `CPUID ${hex(leaf)}.${subleaf} ${register} bit ${bit}`);
  });
  const [bits, bitsHere] = [saved, here].map((cpuid) => (entryOf(cpuid, LEAF_SIZES, 0)?.eax ?? 0) & 0xff);
  if (bits > bitsHere) missing.push(`physical addresses of ${bits} bits (here: ${bitsHere})`);
  return missing;
}

/** "GenuineIntel" */
export function vendorOf(cpuid: readonly CpuidEntry[]): string {
  const leaf = entryOf(cpuid, LEAF_VENDOR, 0);
  if (leaf === undefined) return "no vendor";
  const words = Uint32Array.of(leaf.ebx, leaf.edx, leaf.ecx);
  return Buffer.from(words.buffer)
    .toString("latin1")
    .replace(/[^ -~]/g, "?");
}

function entryOf(cpuid: readonly CpuidEntry[], leaf: number, subleaf: number): CpuidEntry | undefined {
  return cpuid.find((entry) => entry.function === leaf && entry.index === subleaf);
}

function bitsOf(word: number): number[] {
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (word & (1 << bit)) !== 0);
}
