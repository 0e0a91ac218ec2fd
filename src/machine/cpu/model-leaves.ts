/**
 * The leaves of a CPU model, once it is known which features the guest has.
 *
 * Source: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E. Where these leave it open, a
 * guest reads what it reads under QEMU 11.1.3 (test/unit/machine/cpu/).
 */
import {
  amdIds,
  type CpuidEntry,
  type GuestCpu,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
  topology as topologyLeaf,
} from "../cpuid.ts";
import { perSocket, placeOf, shiftsOf } from "../topology.ts";
import { cacheParameters, cachesOf, level1, level2, level3 } from "./caches.ts";
import { FEATURE_WORDS, type Register, registerValue, wordValue } from "./feature-words.ts";
import type { CpuDefinition } from "./model.ts";
import { stateComponents } from "./state-components.ts";

/** A model with everything decided. */
export interface Decided extends Omit<CpuDefinition, "vendor"> {
  readonly vendor: string;
  readonly physicalBits: number;
  /** Raise the last leaves, as features need them. */
  readonly raiseBasic: boolean;
  readonly raiseExtended: boolean;
}

type Registers = Partial<Pick<CpuidEntry, "eax" | "ebx" | "ecx" | "edx">>;

const AMD = "AuthenticAMD";
const HYGON = "HygonGenuine";
const INTEL = "GenuineIntel";

/** Bits of leaf 1 EDX that AMD repeats in 0x8000_0001 EDX. */
const AMD_REPEATS = 0x0183_f3ff;
const EDX_HTT = 1 << 28;
const ECX_CMP_LEGACY = 1 << 1;

const LEAF_TOPOLOGY_V2 = 0x1f;
const ZHAOXIN = 0xc000_0000;
const EXTENDED = 0x8000_0000;

/** 8 units of 8 bytes, which CLFLUSH writes back. */
const CLFLUSH_64 = 8 << 8;
/** ECX of leaf 5: MWAIT has extensions, and ends at an interrupt. */
const MWAIT_EXTENSIONS = 0b11;
/** Leaf 2: "no descriptors, read leaf 4". */
const SEE_LEAF_4 = 0xff;
/** Leaf 2 without leaf 4: 16 MiB of L3; L1 of 32 KiB each; and 2 MiB of L2. */
const OLD_L3 = 0x4d;
const OLD_L1_L2 = 0x2c_307d;
/** Entries of AMD's TLBs: 255, fully associative; L2: 512, 4 ways. */
const AMD_L1_TLB = 0x01ff_01ff;
const AMD_L2_TLB = 0x4200_4200;
const SVM_REVISION = 1;
const SVM_ASIDS = 16;

/** @returns entries without those that are all zero, which KVM answers with zeros anyway */
export function modelLeaves(cpu: Decided, supported: readonly CpuidEntry[], guest: GuestCpu): CpuidEntry[] {
  const { features, vendor } = cpu;
  const isAmd = vendor === AMD;
  const isOfAmd = isAmd || vendor === HYGON; // AMD's design
  const { index, topology } = guest;
  const { apicId } = placeOf(topology, index);
  const shifts = shiftsOf(topology);
  const inSocket = perSocket(topology);
  const word = (leaf: number, subleaf: number, register: Register) =>
    registerValue(leaf, subleaf, register, features);
  const levels = lastLeaves(cpu, topology.dies > 1);
  const entries: CpuidEntry[] = [];
  const add = (leaf: number, registers: Registers, subleaf = 0, hasSubleaves = subleaf > 0): void => {
    const flags = hasSubleaves ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    const { eax = 0, ebx = 0, ecx = 0, edx = 0 } = registers;
    const values = { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 };
    entries.push({ function: leaf, index: subleaf, flags, ...values });
  };
  const signature = signatureOf(cpu.signature);
  const name = vendorRegisters(vendor);

  add(0, { eax: levels.basic, ...name });
  const counted = isOfAmd ? inSocket : 2 ** shifts.socket;
  add(1, {
    eax: signature,
    ebx: CLFLUSH_64 | (inSocket > 1 ? Math.min(counted, 255) << 16 : 0) | (apicId << 24),
    ecx: word(1, 0, "ecx"),
    edx: word(1, 0, "edx") | (inSocket > 1 ? EDX_HTT : 0),
  });
  const caches = cachesOf(cpu.caches, isAmd, cpu.levels[0]);
  const addCaches = (leaf: number, cores: number): void => {
    for (let n = 0; n < caches.length; n++) {
      const sharing = (2 ** shifts[caches[n].sharedBy] - 1) << 14;
      const { eax, ...rest } = cacheParameters(caches, n);
      add(leaf, { eax: eax | sharing | cores, ...rest }, n, true);
    }
  };
  if (!isAmd) {
    add(2, {
      eax: 1,
      ecx: levels.basic < 4 ? OLD_L3 : 0,
      edx: levels.basic < 4 ? OLD_L1_L2 : SEE_LEAF_4,
    });
    const cores = (Math.min(2 ** (shifts.socket - shifts.core), 64) - 1) << 26;
    addCaches(4, cores);
  }
  add(5, { ecx: MWAIT_EXTENSIONS });
  add(6, { eax: word(6, 0, "eax") });
  const last7 =
    word(7, 2, "edx") !== 0 ? 2 : has<Register>(["eax", "ecx", "edx"], (r) => word(7, 1, r)) ? 1 : 0;
  add(7, { eax: last7, ebx: word(7, 0, "ebx"), ecx: word(7, 0, "ecx"), edx: word(7, 0, "edx") }, 0, true);
  add(7, { eax: word(7, 1, "eax"), ecx: word(7, 1, "ecx"), edx: word(7, 1, "edx") }, 1);
  add(7, { edx: word(7, 2, "edx") }, 2);
  entries.push(...topologyLeaf(0xb, guest));
  entries.push(...stateComponents(supported, features, word(0xd, 1, "eax")));
  for (const [leaf, feature] of [
    [0x14, "intel-pt"],
    [0x1d, "amx-tile"],
    [0x1e, "amx-tile"],
  ] as const) {
    if (features.has(feature)) entries.push(...supported.filter((entry) => entry.function === leaf));
  }
  if (cpu.dies === true || topology.dies > 1) entries.push(...topologyLeaf(LEAF_TOPOLOGY_V2, guest));
  if (features.has("avx10")) {
    const ecx = word(0x24, 1, "ecx");
    add(0x24, { eax: ecx === 0 ? 0 : 1, ebx: word(0x24, 0, "ebx") | (cpu.avx10 ?? 1) }, 0, true);
    add(0x24, { ecx }, 1);
  }
  add(0x29, { ebx: word(0x29, 0, "ebx") }, 0, true);

  add(EXTENDED, { eax: levels.extended, ...(isOfAmd ? name : {}) });
  add(EXTENDED + 1, {
    eax: signature,
    ecx: word(EXTENDED + 1, 0, "ecx") | (isOfAmd && inSocket > 1 ? ECX_CMP_LEGACY : 0),
    edx: word(EXTENDED + 1, 0, "edx") | (isAmd ? word(1, 0, "edx") & AMD_REPEATS : 0),
  });
  brandRegisters(cpu.id).forEach((registers, n) => {
    add(EXTENDED + 2 + n, registers);
  });
  if (vendor !== INTEL) {
    const [data, instructions] = caches;
    add(EXTENDED + 5, { eax: AMD_L1_TLB, ebx: AMD_L1_TLB, ecx: level1(data), edx: level1(instructions) });
  }
  add(EXTENDED + 6, {
    ebx: isOfAmd ? AMD_L2_TLB : 0,
    ecx: level2(caches[2]),
    edx: isOfAmd ? level3(caches[3]) : 0,
  });
  add(EXTENDED + 7, { ebx: word(EXTENDED + 7, 0, "ebx"), edx: word(EXTENDED + 7, 0, "edx") });
  add(EXTENDED + 8, {
    eax: cpu.physicalBits | (virtualBits(features) << 8),
    ebx: word(EXTENDED + 8, 0, "ebx"),
    ecx: isOfAmd && inSocket > 1 ? Math.min(inSocket - 1, 0xff) | (shifts.socket << 12) : 0,
  });
  if (features.has("svm")) {
    add(EXTENDED + 0xa, { eax: SVM_REVISION, ebx: SVM_ASIDS, edx: word(EXTENDED + 0xa, 0, "edx") });
  }
  if (features.has("topoext")) {
    addCaches(EXTENDED + 0x1d, 0);
    entries.push(amdIds(guest));
  }
  add(EXTENDED + 0x21, { eax: word(EXTENDED + 0x21, 0, "eax"), ecx: word(EXTENDED + 0x21, 0, "ecx") });
  if (levels.zhaoxin > 0) {
    add(ZHAOXIN, { eax: levels.zhaoxin });
    add(ZHAOXIN + 1, { eax: signature, edx: word(ZHAOXIN + 1, 0, "edx") });
  }
  return entries.filter(({ function: leaf, eax, ebx, ecx, edx }) => {
    if (
      leaf >= ZHAOXIN
        ? leaf > levels.zhaoxin
        : leaf >= EXTENDED
          ? leaf > levels.extended
          : leaf > levels.basic
    )
      return false;
    return (eax | ebx | ecx | edx) !== 0 || leaf === 0 || leaf === EXTENDED;
  });
}

/** The last leaf of each range: the model's, or further if a feature that was added is shown behind it. */
function lastLeaves(cpu: Decided, severalDies: boolean) {
  const [basic, extended, zhaoxin = 0] = cpu.levels;
  const needed = FEATURE_WORDS.filter((word) => wordValue(word, cpu.features) !== 0).map(({ leaf }) => leaf);
  const upTo = (least: number, from: number, end: number) => {
    return Math.max(least, ...needed.filter((leaf) => leaf >= from && leaf < end));
  };
  const first = cpu.raiseBasic ? upTo(basic, 0, 0x4000_0000) : basic;
  return {
    basic:
      severalDies && cpu.raiseBasic && cpu.vendor !== AMD && cpu.vendor !== HYGON
        ? Math.max(first, LEAF_TOPOLOGY_V2)
        : first,
    extended: cpu.raiseExtended ? upTo(extended, EXTENDED, ZHAOXIN) : extended,
    zhaoxin: upTo(zhaoxin, ZHAOXIN, ZHAOXIN + 0x1000),
  };
}

/** EAX of leaf 1: families from 15 on and models from 16 on have more bits elsewhere. */
function signatureOf([family, model, stepping]: CpuDefinition["signature"]): number {
  const base = family > 0xf ? 0xf00 | ((family - 0xf) << 20) : family << 8;
  return base | ((model & 0xf) << 4) | ((model >> 4) << 16) | stepping;
}

/** EBX, EDX and ECX of leaf 0, in the order of the letters. */
export function vendorRegisters(vendor: string): { ebx: number; edx: number; ecx: number } {
  const [ebx, edx, ecx] = words(vendor, 3);
  return { ebx, edx, ecx };
}

/** Of 0x8000_0002 to 04: 48 characters, sixteen a leaf. */
export function brandRegisters(id: string): Registers[] {
  const all = words(id, 12);
  return [0, 4, 8].map((at) => ({ eax: all[at], ebx: all[at + 1], ecx: all[at + 2], edx: all[at + 3] }));
}

function words(text: string, count: number): number[] {
  const codes = Array.from({ length: 4 * count }, (_, n) => text.charCodeAt(n) || 0);
  return Array.from({ length: count }, (_, n) => {
    const [a, b, c, d] = codes.slice(4 * n, 4 * n + 4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  });
}

function virtualBits(features: ReadonlySet<string>): number {
  if (!features.has("lm")) return 0;
  return features.has("la57") ? 57 : 48;
}

function has<T>(things: readonly T[], value: (thing: T) => number): boolean {
  return things.some((thing) => value(thing) !== 0);
}
