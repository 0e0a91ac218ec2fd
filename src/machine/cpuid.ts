/**
 * The CPUID that guests see: what KVM supports here, with the guest's own
 * topology in place of the host's. One socket of `count` cores with one thread
 * each; a CPU's APIC id is its index.
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
  /** All CPUs of the guest. */
  readonly count: number;
}

export interface CpuidFeatures {
  /** KVM_CAP_TSC_DEADLINE_TIMER. KVM does not set the CPUID bit itself: it is valid only with KVM's local APIC. */
  readonly tscDeadlineTimer: boolean;
}

const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

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

/** @param supported what KVM_GET_SUPPORTED_CPUID gave */
export function guestCpuid(
  supported: readonly CpuidEntry[],
  cpu: GuestCpu,
  features: CpuidFeatures,
): CpuidEntry[] {
  const vendor = vendorOf(supported);
  const entries = supported
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
  { index, count }: GuestCpu,
  { tscDeadlineTimer }: CpuidFeatures,
): CpuidEntry {
  const { eax, ebx, ecx, edx } = entry;
  switch (entry.function) {
    case 1:
      return registers(entry, {
        // Brand and CLFLUSH size are kept.
        ebx: (ebx & 0xffff) | (Math.min(count, 255) << 16) | (index << 24),
        ecx: withBits(ecx & ~ECX_PDCM, ECX_HYPERVISOR | ECX_X2APIC, ECX_TSC_DEADLINE, tscDeadlineTimer),
        edx: withBits(edx, 0, EDX_HTT, count > 1),
      });
    case LEAF_CACHES: {
      if ((eax & 0x1f) === 0) return entry; // the end of the list of caches
      const ids = 2 ** coreBits(count); // addressable, a power of two
      const sharing = cacheLevel(eax) >= 3 ? ids : 1;
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
      return registers(entry, { ecx: (ecx & ~0xf0ff) | Math.min(count - 1, 0xff) | (coreBits(count) << 12) });
    case LEAF_CACHES_AMD: {
      if ((eax & 0x1f) === 0) return entry;
      const sharing = cacheLevel(eax) >= 3 ? count : 1;
      return registers(entry, { eax: (eax & ~0x03ff_c000) | (Math.min(sharing - 1, 0xfff) << 14) });
    }
    case LEAF_KVM_SIGNATURE:
      // Old kernels say 0 and mean LEAF_KVM_FEATURES (cpuid.rst).
      return registers(entry, { eax: Math.max(eax, LEAF_KVM_FEATURES) });
    default:
      return entry;
  }
}

/** SMT level of one thread, core level of all CPUs, and the level that ends the list. */
function topology(leaf: number, { index, count }: GuestCpu): CpuidEntry[] {
  const level = (subleaf: number, type: number, shift: number, cpus: number): CpuidEntry => ({
    function: leaf,
    index: subleaf,
    flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    eax: shift,
    ebx: cpus,
    ecx: (type << 8) | subleaf,
    edx: index,
  });
  return [level(0, LEVEL_SMT, 0, 1), level(1, LEVEL_CORE, coreBits(count), count), level(2, 0, 0, 0)];
}

/** Extended APIC id, core id with one thread, node 0 of one. */
function amdIds({ index }: GuestCpu): CpuidEntry {
  return { function: LEAF_IDS_AMD, index: 0, flags: 0, eax: index, ebx: index & 0xff, ecx: 0, edx: 0 };
}

/** "KVMKVMKVM" without paravirtual features: KVM reports those itself. */
function kvmLeaves(): CpuidEntry[] {
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

/** Bits of an APIC id that number cores. */
function coreBits(count: number): number {
  return Math.ceil(Math.log2(count));
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
