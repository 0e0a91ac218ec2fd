/**
 * The names of CPU features, as QEMU's -cpu has them, and the CPUID bits that they stand for.
 *
 * Source: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Zhaoxin's and VIA's leaf
 * 0xC000_0001; Linux Documentation/virt/kvm/x86/cpuid.rst (0x4000_0001); IA32_ARCH_CAPABILITIES
 * and IA32_CORE_CAPABILITIES in Intel SDM volume 4, table 2-2. The names were compared, one by one, with
 * the bit that a guest of QEMU 11.1.3 sees.
 */
import type { CpuidEntry } from "../cpuid.ts";

export type Register = "eax" | "ebx" | "ecx" | "edx";

/** 32 features in a register. */
export interface FeatureWord {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: Register;
  /** By bit; a name may have more than one. */
  readonly names: ReadonlyMap<number, string>;
}

/** @param names from bit 0 on; a number says at which bit the next name is */
function word(leaf: number, subleaf: number, register: Register, names: string): FeatureWord {
  return { leaf, subleaf, register, names: namesByBit(names) };
}

function namesByBit(text: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  let bit = 0;
  for (const token of text.split(" ")) {
    if (/^\d+$/.test(token)) bit = Number(token);
    else names.set(bit++, token);
  }
  return names;
}

export const FEATURE_WORDS: readonly FeatureWord[] = [
  word(
    1,
    0,
    "ecx",
    "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid 12 fma cx16 xtpr pdcm 17 pcid dca " +
      "sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave 28 avx f16c rdrand hypervisor",
  ),
  word(
    1,
    0,
    "edx",
    "fpu vme de pse tsc msr pae mce cx8 apic 11 sep mtrr pge mca cmov pat pse36 pn clflush 21 ds acpi " +
      "mmx fxsr sse sse2 ss ht tm ia64 pbe",
  ),
  word(6, 0, "eax", "2 arat"),
  word(
    7,
    0,
    "ebx",
    "fsgsbase tsc-adjust sgx bmi1 hle avx2 fdp-excptn-only smep bmi2 erms invpcid rtm 13 zero-fcs-fds " +
      "mpx 16 avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf " +
      "avx512er avx512cd sha-ni avx512bw avx512vl",
  ),
  word(
    7,
    0,
    "ecx",
    "1 avx512vbmi umip pku 5 waitpkg avx512vbmi2 cet-ss gfni vaes vpclmulqdq avx512vnni avx512bitalg " +
      "14 avx512-vpopcntdq 16 la57 22 rdpid 24 bus-lock-detect cldemote 27 movdiri movdir64b 30 sgxlc " +
      "pks",
  ),
  word(
    7,
    0,
    "edx",
    "2 avx512-4vnniw avx512-4fmaps fsrm 8 avx512-vp2intersect 10 md-clear 14 serialize 16 tsx-ldtrk " +
      "19 arch-lbr cet-ibt 22 amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d " +
      "arch-capabilities core-capability ssbd",
  ),
  word(
    7,
    1,
    "eax",
    "sha512 sm3 sm4 4 avx-vnni avx512-bf16 7 cmpccxadd 10 fzrm fsrs fsrc 17 fred lkgs wrmsrns 21 " +
      "amx-fp16 23 avx-ifma 26 lam 31 movrs",
  ),
  word(7, 1, "ecx", "5 msr-imm"),
  word(
    7,
    1,
    "edx",
    "4 avx-vnni-int8 avx-ne-convert 8 amx-complex 10 avx-vnni-int16 14 prefetchiti 19 avx10 21 apxf",
  ),
  word(7, 2, "edx", "intel-psfd ipred-ctrl rrsba-ctrl ddpd-u bhi-ctrl mcdt-no"),
  word(0xd, 1, "eax", "xsaveopt xsavec xgetbv1 xsaves xfd"),
  word(0x12, 0, "eax", "sgx1 sgx2 11 sgx-edeccssa"),
  word(0x12, 0, "ebx", "sgx-exinfo"),
  word(0x12, 1, "eax", "1 sgx-debug sgx-mode64 4 sgx-provisionkey sgx-tokenkey 7 sgx-kss 10 sgx-aex-notify"),
  word(0x14, 0, "ecx", "31 intel-pt-lip"),
  word(
    0x1e,
    1,
    "eax",
    "amx-int8-alias amx-bf16-alias amx-complex-alias amx-fp16-alias amx-fp8 6 amx-tf32 amx-avx512 " +
      "amx-movrs",
  ),
  word(0x24, 0, "ebx", "16 avx10-128 avx10-256 avx10-512"),
  word(0x24, 1, "ecx", "2 avx10-vnni-int"),
  word(0x29, 0, "ebx", "apx-nci-ndd-nf"),
  word(
    0x4000_0001,
    0,
    "eax",
    "kvmclock kvm-nopiodelay kvm-mmu kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi kvm-pv-unhalt 9 " +
      "kvm-pv-tlb-flush kvm-asyncpf-vmexit kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield " +
      "kvm-asyncpf-int kvm-msi-ext-dest-id 24 kvmclock-stable-bit",
  ),
  word(0x4000_0001, 0, "edx", "kvm-hint-dedicated"),
  word(
    0x8000_0001,
    0,
    "ecx",
    "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit " +
      "wdt 15 lwp fma4 tce 19 nodeid-msr 21 tbm topoext perfctr-core perfctr-nb",
  ),
  word(0x8000_0001, 0, "edx", "11 syscall 20 nx 22 mmxext 25 fxsr-opt pdpe1gb rdtscp 29 lm 3dnowext 3dnow"),
  word(0x8000_0007, 0, "ebx", "overflow-recov succor"),
  word(0x8000_0007, 0, "edx", "8 invtsc"),
  word(
    0x8000_0008,
    0,
    "ebx",
    "clzero 2 xsaveerptr 9 wbnoinvd 12 ibpb 14 ibrs amd-stibp 17 stibp-always-on 24 amd-ssbd " +
      "virt-ssbd amd-no-ssb 28 amd-psfd",
  ),
  word(
    0x8000_000a,
    0,
    "edx",
    "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists 10 pause-filter 12 " +
      "pfthreshold avic 15 v-vmsave-vmload vgif gmet 25 vnmi 28 svme-addr-chk",
  ),
  word(
    0x8000_0021,
    0,
    "eax",
    "no-nested-data-bp fs-gs-base-ns lfence-always-serializing 5 verw-clear null-sel-clr-base 8 " +
      "auto-ibrs 20 prefetchi 24 eraps 27 sbpb ibpb-brtype srso-no srso-user-kernel-no",
  ),
  word(0x8000_0021, 0, "ecx", "1 tsa-sq-no tsa-l1-no"),
  word(0x8000_0022, 0, "eax", "perfmon-v2"),
  word(0xc000_0001, 0, "edx", "2 xstore xstore-en 6 xcrypt xcrypt-en ace2 ace2-en phe phe-en pmm pmm-en"),
];

/** A feature that an MSR shows, instead of CPUID. */
export interface FeatureMsr {
  readonly index: number;
  /** Which CPUID feature says that there is such an MSR. */
  readonly shownBy: string;
  readonly names: ReadonlyMap<number, string>;
}

export const FEATURE_MSRS: readonly FeatureMsr[] = [
  {
    index: 0xcf,
    shownBy: "core-capability",
    names: namesByBit("5 split-lock-detect"),
  },
  {
    index: 0x10a,
    shownBy: "arch-capabilities",
    names: namesByBit(
      "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no 13 " +
        "sbdr-ssdp-no fbsdp-no psdp-no 17 fb-clear 20 bhi-no 24 pbrsb-no 26 gds-no rfds-no rfds-clear 62 " +
        "its-no",
    ),
  },
];

/**
 * Features of nested virtualization, which the VMX capability MSRs show. Under KVM these MSRs say what KVM
 * can do, whatever the model: the names are accepted, and change nothing.
 */
const VMX =
  "activity-hlt activity-shutdown activity-wait-sipi any-errcode apicv-register apicv-vid " +
  "apicv-x2apic apicv-xapic cr3-load-noexit cr3-store-noexit cr8-load-exit cr8-store-exit desc-exit " +
  "enable-user-wait-pause encls-exit entry-ia32e-mode entry-load-bndcfgs entry-load-cet " +
  "entry-load-efer entry-load-fred entry-load-pat entry-load-perf-global-ctrl entry-load-pkrs " +
  "entry-load-rtit-ctl entry-noload-debugctl ept ept-1gb ept-2mb ept-advanced-exitinfo ept-execonly " +
  "eptad eptp-switching exit-ack-intr exit-clear-bndcfgs exit-clear-rtit-ctl exit-load-efer " +
  "exit-load-pat exit-load-perf-global-ctrl exit-load-pkrs exit-nosave-debugctl exit-save-cet " +
  "exit-save-efer exit-save-pat exit-save-preemption-timer exit-secondary-ctls flexpriority hlt-exit " +
  "ins-outs intr-exit invept invept-all-context invept-single-context invept-single-context-noglobals " +
  "invlpg-exit invpcid-exit invvpid invvpid-all-context invvpid-single-addr io-bitmap io-exit mbec " +
  "monitor-exit movdr-exit msr-bitmap mtf mwait-exit nested-exception nmi-exit page-walk-4 " +
  "page-walk-5 pause-exit ple pml posted-intr preemption-timer rdpmc-exit rdrand-exit rdseed-exit " +
  "rdtsc-exit rdtscp-exit secondary-ctls shadow-vmcs store-lma true-ctls tsc-offset tsc-scaling " +
  "unrestricted-guest vintr-pending vmfunc vmwrite-vmexit-fields vnmi vnmi-pending vpid wbinvd-exit " +
  "xsaves zero-len-inject";

export const VMX_FEATURES: readonly string[] = VMX.split(" ").map((name) => `vmx-${name}`);

/** Other names of features, which older versions of QEMU, libvirt and /proc/cpuinfo have. */
const SYNONYMS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    sse3: "pni",
    pclmuldq: "pclmulqdq",
    "sse4-1": "sse4.1",
    "sse4-2": "sse4.2",
    i64: "lm",
    xd: "nx",
    ffxsr: "fxsr-opt",
  }),
);

/** Every bit of a feature. */
interface FeatureBit {
  readonly word: FeatureWord;
  readonly bit: number;
}

const BITS: ReadonlyMap<string, readonly FeatureBit[]> = bitsByName();

function bitsByName(): Map<string, FeatureBit[]> {
  const all = new Map<string, FeatureBit[]>();
  for (const word of FEATURE_WORDS) {
    for (const [bit, name] of word.names) all.set(name, [...(all.get(name) ?? []), { word, bit }]);
  }
  return all;
}

const MSR_NAMES: ReadonlySet<string> = new Set(FEATURE_MSRS.flatMap(({ names }) => [...names.values()]));

/** The name in the tables for what somebody wrote, with underscores or dashes; undefined if it is not a feature. */
export function featureName(written: string): string | undefined {
  const dashed = written.replaceAll("_", "-");
  const name = SYNONYMS.get(dashed) ?? dashed;
  return BITS.has(name) || MSR_NAMES.has(name) || VMX_FEATURES.includes(name) ? name : undefined;
}

/** All names, sorted as `-cpu help` lists them. */
export function featureNames(): string[] {
  const words = FEATURE_WORDS.flatMap(({ names }) => [...names.values()]);
  // An artefact of QEMU's tables, in which two bits have one name.
  return [...words, ...MSR_NAMES, ...VMX_FEATURES, "full-width-write", "vmx-invept-single-context"].sort(
    (a, b) => (a < b ? -1 : a > b ? 1 : 0),
  );
}

/** The value of a word in which exactly `features` are set. */
export function wordValue({ names }: FeatureWord, features: ReadonlySet<string>): number {
  let value = 0;
  for (const [bit, name] of names) if (features.has(name)) value |= 1 << bit;
  return value >>> 0;
}

/** The same for the word in a register; 0 if no feature is there. */
export function registerValue(
  leaf: number,
  subleaf: number,
  register: Register,
  features: ReadonlySet<string>,
): number {
  const word = FEATURE_WORDS.find(
    (each) => each.leaf === leaf && each.subleaf === subleaf && each.register === register,
  );
  return word === undefined ? 0 : wordValue(word, features);
}

/** What a word is in `entries`; 0 without the leaf. */
export function wordIn(entries: readonly CpuidEntry[], { leaf, subleaf, register }: FeatureWord): number {
  return entries.find(({ function: fn, index }) => fn === leaf && index === subleaf)?.[register] ?? 0;
}

/** "CPUID[eax=07h,ecx=00h].EBX.avx2 [bit 5]", as QEMU names a feature in its warnings. */
export function featurePlace(name: string): string {
  const [place] = BITS.get(name) ?? [];
  if (place !== undefined) {
    const { leaf, subleaf, register } = place.word;
    const at = hasSubleaves(leaf) ? `eax=${hexH(leaf)},ecx=${hexH(subleaf)}` : `eax=${hexH(leaf)}`;
    return `CPUID[${at}].${register.toUpperCase()}.${name} [bit ${place.bit}]`;
  }
  for (const { index, names } of FEATURE_MSRS) {
    for (const [bit, each] of names) {
      if (each === name) return `MSR(${index.toString(16).toUpperCase()}h).${name} [bit ${bit}]`;
    }
  }
  return name;
}

function hasSubleaves(leaf: number): boolean {
  return (
    FEATURE_WORDS.some((word) => word.leaf === leaf && word.subleaf > 0) || leaf === 0x14 || leaf === 0x29
  );
}

function hexH(number: number): string {
  return `${number.toString(16).toUpperCase().padStart(2, "0")}h`;
}
