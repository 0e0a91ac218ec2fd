/**
 * The CPUID that guests see: what KVM supports here, with the guest's own
 * topology in place of the host's. cpu/custom-cpu.ts makes the CPUID of a CPU model.
 *
 * Source: Intel SDM volume 2A, CPUID (leaves 1, 4, 0xB, 0x1F); AMD APM volume 3,
 * appendix E (0x8000_0001, 08, 1D, 1E); Linux Documentation/virt/kvm/x86/cpuid.rst
 * (leaves from 0x4000_0000 on).
 *
 * Performance counters are hidden: architectural perfmon (leaf 0xA), its
 * capabilities MSR and AMD's extended counters. Linux on Intel then uses no NMI
 * watchdog and tries no counter MSRs, each of which would be an exit, and a
 * snapshot does not depend on counters of the host. The disadvantage is that
 * `perf` in the guest counts only software events. AMD's four oldest counters
 * have no CPUID bit: KVM_CAP_PMU_CAPABILITY removes those.
 */

import { perSocket, placeOf, shiftsOf, type Topology } from "./topology.ts";

/** struct kvm_cpuid_entry2; the registers are unsigned. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export interface GuestCpu {
  readonly index: number;
  readonly topology: Topology;
}

export interface CpuidFeatures {
  /** KVM_CAP_TSC_DEADLINE_TIMER. KVM does not set the CPUID bit itself: it is valid only with KVM's local APIC. */
  readonly tscDeadlineTimer: boolean;
}

/** What decides a guest's CPUID where it is not simply the host's: see cpu/. */
export interface CpuChoice {
  /** Capabilities of KVM that each vCPU needs. */
  readonly capabilities: readonly number[];
  /** The CPUID of one CPU, of what KVM and this host support. */
  cpuid(supported: readonly CpuidEntry[], cpu: GuestCpu, features: CpuidFeatures): CpuidEntry[];
  /** MSRs that show features, of what the host's show; undefined for an MSR that it does not have. */
  msrs(host: (index: number) => bigint | undefined): { readonly index: number; readonly data: bigint }[];
  /**
   * What of it this host lacks, in sentences.
   * @throws {OptionError} if it must not lack anything
   */
  warnings(
    supported: readonly CpuidEntry[],
    features: CpuidFeatures,
    host: (index: number) => bigint | undefined,
  ): string[];
}

export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

const LEAF_CACHES = 4; // deterministic cache parameters, Intel
const LEAF_PERFMON = 0xa;
const LEAF_TOPOLOGY = 0xb;
const LEAF_TOPOLOGY_V2 = 0x1f;
const LEAF_KVM_SIGNATURE = 0x4000_0000;
const LEAF_KVM_FEATURES = 0x4000_0001;
const LEAF_EXTENDED_FEATURES = 0x8000_0001;
const LEAF_SIZES = 0x8000_0008;
const LEAF_CACHES_AMD = 0x8000_001d;
const LEAF_IDS_AMD = 0x8000_001e;
const LEAF_PERFMON_AMD = 0x8000_0022;
const LEAF_TOPOLOGY_AMD = 0x8000_0026;

/** Leaves that describe the host: they are replaced or left out. */
const HOST_TOPOLOGY: readonly number[] = [LEAF_TOPOLOGY, LEAF_TOPOLOGY_V2, LEAF_IDS_AMD, LEAF_TOPOLOGY_AMD];

// Leaf 1.
const ECX_PDCM = 1 << 15;
const ECX_X2APIC = 1 << 21;
const ECX_TSC_DEADLINE = 1 << 24;
const ECX_HYPERVISOR = 1 << 31;
const EDX_HTT = 1 << 28;

// Leaf 0x80000001.
const ECX_CMP_LEGACY = 1 << 1;
const ECX_TOPOEXT = 1 << 22;
const ECX_PERFCTR_CORE = 1 << 23;
const ECX_PERFCTR_NB = 1 << 24;
const ECX_PERFCTR_LLC = 1 << 28;

// Leaves 0xB and 0x1F.
const LEVEL_SMT = 1;
const LEVEL_CORE = 2;
const LEVEL_DIE = 5;

/** @param supported what KVM_GET_SUPPORTED_CPUID gave */
export function guestCpuid(
  supported: readonly CpuidEntry[],
  cpu: GuestCpu,
  features: CpuidFeatures,
): CpuidEntry[] {
  const vendor = vendorOf(supported);
  const entries: CpuidEntry[] = supported
    .filter((entry) => !HOST_TOPOLOGY.includes(entry.function))
    .map((entry) => adapt(entry, vendor, cpu, features));
  const maxBasic = supported.find((entry) => entry.function === 0)?.eax ?? 0;
  for (const leaf of [LEAF_TOPOLOGY, LEAF_TOPOLOGY_V2]) {
    if (maxBasic >= leaf) entries.push(...topology(leaf, cpu));
  }
  const extended = supported.find((entry) => entry.function === LEAF_EXTENDED_FEATURES);
  if (vendor === "amd" && extended !== undefined && extended.ecx & ECX_TOPOEXT) {
    entries.push(amdIds(cpu));
  }
  if (!entries.some((entry) => entry.function === LEAF_KVM_SIGNATURE)) entries.push(...kvmLeaves());
  return entries.sort((a, b) => a.function - b.function || a.index - b.index);
}

function adapt(
  entry: CpuidEntry,
  vendor: Vendor,
  { index, topology }: GuestCpu,
  { tscDeadlineTimer }: CpuidFeatures,
): CpuidEntry {
  const { eax, ebx, ecx, edx } = entry;
  const { threads, cores } = topology;
  const count = perSocket(topology);
  const shifts = shiftsOf(topology);
  switch (entry.function) {
    case 1:
      return registers(entry, {
        // Brand and CLFLUSH size are kept.
        ebx: (ebx & 0xffff) | (Math.min(count, 255) << 16) | (placeOf(topology, index).apicId << 24),
        ecx: withBits(ecx & ~ECX_PDCM, ECX_HYPERVISOR | ECX_X2APIC, ECX_TSC_DEADLINE, tscDeadlineTimer),
        edx: withBits(edx, 0, EDX_HTT, count > 1),
      });
    case LEAF_CACHES: {
      if ((eax & 0x1f) === 0) return entry; // the end of the list of caches
      // Addressable ids, powers of two.
      const ids = 2 ** (shifts.socket - shifts.core);
      const sharing = 2 ** (cacheLevel(eax) >= 3 ? shifts.die : shifts.core);
      return registers(entry, {
        eax: (eax & 0x3fff) | (Math.min(sharing - 1, 0xfff) << 14) | (Math.min(ids - 1, 0x3f) << 26),
      });
    }
    case LEAF_PERFMON:
    case LEAF_PERFMON_AMD:
      return registers(entry, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
    case LEAF_EXTENDED_FEATURES:
      if (vendor !== "amd") return entry;
      return registers(entry, {
        ecx: withBits(
          ecx & ~(ECX_PERFCTR_CORE | ECX_PERFCTR_NB | ECX_PERFCTR_LLC),
          0,
          ECX_CMP_LEGACY,
          count > 1,
        ),
      });
    case LEAF_SIZES:
      if (vendor !== "amd") return entry;
      return registers(entry, { ecx: (ecx & ~0xf0ff) | Math.min(count - 1, 0xff) | (shifts.socket << 12) });
    case LEAF_CACHES_AMD: {
      if ((eax & 0x1f) === 0) return entry;
      const sharing = cacheLevel(eax) >= 3 ? cores * threads : threads;
      return registers(entry, { eax: (eax & ~0x03ff_c000) | (Math.min(sharing - 1, 0xfff) << 14) });
    }
    case LEAF_KVM_SIGNATURE:
      // Old kernels say 0 and mean LEAF_KVM_FEATURES (cpuid.rst).
      return registers(entry, { eax: Math.max(eax, LEAF_KVM_FEATURES) });
    default:
      return entry;
  }
}

/** The levels from threads up, and the one that ends the list. Leaf 0xB knows no dies: their cores are the socket's. */
export function topology(leaf: number, { index, topology }: GuestCpu): CpuidEntry[] {
  const { dies, cores, threads } = topology;
  const shifts = shiftsOf(topology);
  const { apicId } = placeOf(topology, index);
  const level = (subleaf: number, type: number, shift: number, cpus: number): CpuidEntry => ({
    function: leaf,
    index: subleaf,
    flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    eax: shift,
    ebx: cpus,
    ecx: (type << 8) | subleaf,
    edx: apicId,
  });
  const smt = level(0, LEVEL_SMT, shifts.core, threads);
  if (leaf === LEAF_TOPOLOGY_V2 && dies > 1) {
    const core = level(1, LEVEL_CORE, shifts.die, cores * threads);
    return [smt, core, level(2, LEVEL_DIE, shifts.socket, perSocket(topology)), level(3, 0, 0, 0)];
  }
  return [smt, level(1, LEVEL_CORE, shifts.socket, perSocket(topology)), level(2, 0, 0, 0)];
}

/** Extended APIC id, core id and threads of a core, and the socket as the node. */
export function amdIds({ index, topology }: GuestCpu): CpuidEntry {
  const { apicId, core, socket } = placeOf(topology, index);
  const ebx = (core & 0xff) | ((topology.threads - 1) << 8);
  return { function: LEAF_IDS_AMD, index: 0, flags: 0, eax: apicId, ebx, ecx: socket, edx: 0 };
}

/** "KVMKVMKVM" without paravirtual features: KVM reports those itself. */
export function kvmLeaves(): CpuidEntry[] {
  const empty = { index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const signature = { eax: LEAF_KVM_FEATURES, ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };
  return [
    { ...empty, ...signature, function: LEAF_KVM_SIGNATURE },
    { ...empty, function: LEAF_KVM_FEATURES },
  ];
}

type Vendor = "intel" | "amd" | "other";

/** Hygon's CPUs have the same leaves as AMD's. */
function vendorOf(supported: readonly CpuidEntry[]): Vendor {
  switch (supported.find((entry) => entry.function === 0)?.ebx) {
    case 0x756e_6547: // Genu, of GenuineIntel
      return "intel";
    case 0x6874_7541: // Auth, of AuthenticAMD
    case 0x6f67_7948: // Hygo, of HygonGenuine
      return "amd";
    default:
      return "other";
  }
}

function cacheLevel(eax: number): number {
  return (eax >>> 5) & 7;
}

/** `value` with the bits `always` set, and `maybe` set or clear. */
function withBits(value: number, always: number, maybe: number, set: boolean): number {
  return (value & ~maybe) | always | (set ? maybe : 0);
}

function registers(
  entry: CpuidEntry,
  changed: Partial<Pick<CpuidEntry, "eax" | "ebx" | "ecx" | "edx">>,
): CpuidEntry {
  const all = { ...entry, ...changed };
  return { ...all, eax: all.eax >>> 0, ebx: all.ebx >>> 0, ecx: all.ecx >>> 0, edx: all.edx >>> 0 };
}
