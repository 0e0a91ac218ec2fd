/**
 * A CPU that is not simply the host's: a model, or the host's with features added or left out. What KVM
 * lacks of it is left out, and named in a warning.
 *
 * As under QEMU, a model has the vendor of the host, unless `vendor=` is given: instructions that Intel and AMD
 * have in different ways, SYSENTER in a 64-bit guest among them, do what that vendor's do.
 *
 * Source: QEMU 11.1, docs/system/qemu-cpu-models; Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
import { OptionError } from "../../base/errors.ts";
import {
  type CpuChoice,
  type CpuidEntry,
  type CpuidFeatures,
  type GuestCpu,
  guestCpuid,
  kvmLeaves,
} from "../cpuid.ts";
import { type CpuRequest, parseCpu } from "./cpu-option.ts";
import {
  FEATURE_MSRS,
  FEATURE_WORDS,
  featurePlace,
  type Register,
  registerValue,
  wordIn,
  wordValue,
} from "./feature-words.ts";
import { hyperVLeaves } from "./hyper-v.ts";
import { brandRegisters, type Decided, modelLeaves, vendorRegisters } from "./model-leaves.ts";

type HostMsr = (index: number) => bigint | undefined;

const EXTENDED = 0x8000_0000;
const LEAF_SIZES = 0x8000_0008;
const LEAF_BRAND = 0x8000_0002;
const LEAF_KVM = 0x4000_0000;
const LEAF_KVM_FEATURES = 0x4000_0001;
/** Where KVM's leaves are if those of Hyper-V have the first place. */
const LEAF_KVM_SECOND = 0x4000_0100;

/** Under KVM every model has these, unless they are switched off. */
const KVM_DEFAULTS: readonly string[] = [
  ...["kvmclock", "kvm-nopiodelay", "kvm-asyncpf", "kvm-steal-time", "kvm-pv-eoi", "kvmclock-stable-bit"],
  ...["x2apic", "hypervisor"],
];
/** What a machine has whatever KVM_GET_SUPPORTED_CPUID says: KVM's local APIC. ARAT: its timer does not stop. */
const ALWAYS_SUPPORTED: readonly string[] = ["hypervisor", "x2apic", "arat"];
/** Performance counters are hidden (see cpuid.ts), SGX needs memory of its own, and no MWAIT is without an exit. */
const NEVER_SUPPORTED =
  /^(sgx.*|pdcm|arch-lbr|perfctr-core|perfctr-nb|perfmon-v2|monitor|intel-pt.*|ht|cmp-legacy)$/;
/** Hidden without a warning: QEMU too shows them only with performance counters, or by the topology. */
const HIDDEN = /^(perfctr-core|perfctr-nb|perfmon-v2|ht|cmp-legacy)$/;

/** Features that are nothing without another. */
const NEEDS: readonly (readonly [needed: string, features: RegExp])[] = [
  ["xsave", /^(xsave(opt|c|s)|xgetbv1|xfd|avx|mpx|pku|cet-ss|amx-tile|apxf|xop|fma4?|f16c)$/],
  ["avx", /^(avx2|avx512f|avx10.*|avx-.*|f16c|fma|fma4|xop|vaes|vpclmulqdq)$/],
  ["avx512f", /^(avx512.+|avx10-512)$/],
  ["amx-tile", /^amx-.*$/],
  [
    "svm",
    /^(npt|lbrv|svm.*|nrip-save|tsc-scale|vmcb-clean|flushbyasid|decodeassists|pause-filter|pfthreshold|avic|v-vmsave-vmload|vgif|vnmi|gmet)$/,
  ],
  ["sgx", /^sgx.+$/],
  ...FEATURE_MSRS.map(
    ({ shownBy, names }) => [shownBy, new RegExp(`^(${[...names.values()].join("|")})$`)] as const,
  ),
];

const PHYSICAL_BITS = 40;
const SYNIC2 = 148;

/** The CPU that `text` names. @throws what `complain` makes */
export function customCpu(text: string, complain: (sentence: string) => OptionError): CpuChoice {
  return new CustomCpu(parseCpu(text, complain));
}

class CustomCpu implements CpuChoice {
  readonly #request: CpuRequest;

  constructor(request: CpuRequest) {
    this.#request = request;
  }

  /** KVM_CAP_HYPERV_SYNIC2, if the guest may use what needs it. */
  get capabilities(): readonly number[] {
    return this.#request.hyperV.has("hv-synic") ? [SYNIC2] : [];
  }

  cpuid(supported: readonly CpuidEntry[], cpu: GuestCpu, features: CpuidFeatures): CpuidEntry[] {
    const { model, properties } = this.#request;
    const leaves =
      model === "host"
        ? this.#changedHost(guestCpuid(supported, cpu, features))
        : modelLeaves(this.#decided(supported, features), supported, cpu);
    const entries = leaves.filter(({ function: leaf }) => leaf < LEAF_KVM || leaf >= EXTENDED);
    const paravirtual = properties.kvm === false ? [] : this.#kvmLeaves(supported, leaves);
    const hyperV = hyperVLeaves(this.#request.hyperV);
    return [...entries, ...paravirtual, ...hyperV].sort(
      (a, b) => a.function - b.function || a.index - b.index,
    );
  }

  msrs(host: HostMsr): { index: number; data: bigint }[] {
    if (this.#request.model === "host" && !this.#changesMsrs()) return [];
    const wanted = this.#wanted();
    return FEATURE_MSRS.flatMap(({ index, names }) => {
      const has = host(index);
      if (has === undefined) return [];
      let data = this.#request.model === "host" ? has : 0n;
      for (const [bit, name] of names) {
        const mask = 1n << BigInt(bit);
        if (this.#request.off.has(name)) data &= ~mask;
        else if (wanted.has(name)) data |= mask & has;
      }
      return [{ index, data }];
    });
  }

  warnings(supported: readonly CpuidEntry[], features: CpuidFeatures, host: HostMsr): string[] {
    const { properties, notes } = this.#request;
    const has = supportedFeatures(supported, features, host);
    const missing = [...this.#wanted()].filter((name) => !has.has(name) && !HIDDEN.test(name));
    const ordered = inOrder(missing);
    const lacks = ordered.map((name) => `host doesn't support requested feature: ${featurePlace(name)}`);
    if (properties.enforce === true && lacks.length > 0) {
      const names = ordered.join(", ");
      throw new OptionError(
        `cpu: Host doesn't support requested features: ${names}; leave out "enforce" to run without them`,
      );
    }
    return [...notes, ...(properties.check === false ? [] : lacks.map((text) => `warning: ${text}`))];
  }

  /** Features that the guest should have, whatever the host has. */
  #wanted(): Set<string> {
    const { model, on, off } = this.#request;
    const wanted = new Set(model === "host" ? [] : [...KVM_DEFAULTS, ...model.features]);
    for (const name of on) wanted.add(name);
    for (const name of off) wanted.delete(name);
    for (const [needed, features] of NEEDS) {
      if (model !== "host" ? wanted.has(needed) : !off.has(needed)) continue;
      for (const name of wanted) if (features.test(name) && !on.has(name)) wanted.delete(name);
    }
    return wanted;
  }

  #changesMsrs(): boolean {
    const { on, off } = this.#request;
    return FEATURE_MSRS.some(({ names }) =>
      [...names.values()].some((name) => on.has(name) || off.has(name)),
    );
  }

  #decided(supported: readonly CpuidEntry[], cpuidFeatures: CpuidFeatures): Decided {
    const { model, properties } = this.#request;
    if (model === "host") throw new RangeError("the host is not a model");
    const has = supportedFeatures(supported, cpuidFeatures, () => undefined);
    const features = new Set([...this.#wanted()].filter((name) => has.has(name)));
    for (const [needed, dependent] of NEEDS) {
      if (features.has(needed)) continue;
      for (const name of features) if (dependent.test(name)) features.delete(name);
    }
    const [family, number, stepping] = model.signature;
    const [basic, extended, zhaoxin = 0] = model.levels;
    return {
      ...model,
      features,
      vendor: properties.vendor ?? vendorText(supported),
      signature: [properties.family ?? family, properties.model ?? number, properties.stepping ?? stepping],
      levels: [properties.level ?? basic, properties.xlevel ?? extended, zhaoxin],
      id: properties.modelId ?? model.id,
      raiseBasic: properties.level === undefined,
      raiseExtended: properties.xlevel === undefined,
      physicalBits: this.#physicalBits(supported, features),
    };
  }

  #physicalBits(supported: readonly CpuidEntry[], features: ReadonlySet<string>): number {
    const { physBits, hostPhysBits } = this.#request.properties;
    const host = (supported.find((entry) => entry.function === LEAF_SIZES)?.eax ?? PHYSICAL_BITS) & 0xff;
    if (hostPhysBits === true) return host;
    if (physBits !== undefined) return physBits;
    if (features.has("lm")) return Math.min(PHYSICAL_BITS, host);
    return features.has("pae") || features.has("pse36") ? 36 : 32;
  }

  /** The host's CPUID with what -cpu says otherwise. */
  #changedHost(entries: readonly CpuidEntry[]): CpuidEntry[] {
    const { on, off, properties } = this.#request;
    const hidden = new Set(off);
    if (properties.migratable === true && !on.has("invtsc")) hidden.add("invtsc");
    return entries.map((entry) => {
      const changed = { ...entry };
      for (const word of FEATURE_WORDS) {
        if (word.leaf !== entry.function || word.subleaf !== entry.index) continue;
        changed[word.register] = (changed[word.register] & ~wordValue(word, hidden)) >>> 0;
      }
      const { vendor, level, xlevel, modelId, physBits } = properties;
      if (entry.function === 0) {
        if (vendor !== undefined) Object.assign(changed, vendorRegisters(vendor));
        if (level !== undefined) changed.eax = level;
      }
      if (entry.function === EXTENDED && xlevel !== undefined) changed.eax = xlevel;
      if (entry.function === LEAF_SIZES && physBits !== undefined) {
        changed.eax = ((changed.eax & ~0xff) | physBits) >>> 0;
      }
      if (modelId !== undefined && entry.function >= LEAF_BRAND && entry.function < LEAF_BRAND + 3) {
        Object.assign(changed, brandRegisters(modelId)[entry.function - LEAF_BRAND]);
      }
      return changed;
    });
  }

  /** KVM's signature and features. A model shows those of its features that KVM has; the host all. */
  #kvmLeaves(supported: readonly CpuidEntry[], leaves: readonly CpuidEntry[]): CpuidEntry[] {
    const { model, hyperV } = this.#request;
    const [signature, none] = kvmLeaves();
    const own = supported.find((entry) => entry.function === LEAF_KVM_FEATURES) ?? none;
    const wanted = this.#wanted();
    const word = (register: Register) => registerValue(LEAF_KVM_FEATURES, 0, register, wanted);
    const shown =
      model === "host"
        ? (leaves.find((entry) => entry.function === LEAF_KVM_FEATURES) ?? none)
        : // What KVM can do, and hints, which are not asked of it.
          { ...none, eax: (word("eax") & own.eax) >>> 0, edx: word("edx") };
    const at = hyperV.size === 0 ? LEAF_KVM : LEAF_KVM_SECOND;
    return [
      { ...signature, function: at, eax: at + 1 },
      { ...shown, function: at + 1 },
    ];
  }
}

/** What KVM can give a guest, of all features with names. */
function supportedFeatures(
  supported: readonly CpuidEntry[],
  { tscDeadlineTimer }: CpuidFeatures,
  host: HostMsr,
): ReadonlySet<string> {
  const features = new Set(ALWAYS_SUPPORTED);
  if (tscDeadlineTimer) features.add("tsc-deadline");
  for (const word of FEATURE_WORDS) {
    const value = wordIn(supported, word);
    for (const [bit, name] of word.names) {
      if ((value & (1 << bit)) !== 0 && !NEVER_SUPPORTED.test(name)) features.add(name);
    }
  }
  for (const { index, names } of FEATURE_MSRS) {
    const value = host(index) ?? 0n;
    for (const [bit, name] of names) if ((value >> BigInt(bit)) & 1n) features.add(name);
  }
  return features;
}

/** In the order of the tables, each name once. */
function inOrder(names: readonly string[]): string[] {
  const all = [...FEATURE_WORDS, ...FEATURE_MSRS].flatMap((word) => [...word.names.values()]);
  return [...new Set(all.filter((name) => names.includes(name)))];
}

function vendorText(supported: readonly CpuidEntry[]): string {
  const leaf = supported.find((entry) => entry.function === 0);
  if (leaf === undefined) return "GenuineIntel";
  return [leaf.ebx, leaf.edx, leaf.ecx]
    .flatMap((word) => [0, 8, 16, 24].map((shift) => String.fromCharCode((word >>> shift) & 0xff)))
    .join("");
}
