/**
 * Leaf 0xD: which state components XSAVE saves for a guest, and where. Sizes and places are those of the
 * host's CPU, which KVM reports; a model only decides which components there are.
 *
 * Source: Intel SDM volume 1, 13.1 (components) and 13.2 (CPUID), volume 2A, CPUID leaf 0xD.
 */
import { type CpuidEntry, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from "../cpuid.ts";

const LEAF = 0xd;
const X87_AND_SSE = 0b11;
/** The legacy region and the XSAVE header. */
const FIXED_BYTES = 576;
const ALIGNED_WHEN_COMPACT = 1 << 1;

/** Components that a guest enables in XCR0, by the feature that has them. */
const USER: readonly (readonly [feature: string, components: number])[] = [
  ["avx", 1 << 2],
  ["mpx", 0b11 << 3],
  ["avx512f", 0b111 << 5],
  ["pku", 1 << 9],
  ["amx-tile", 0b11 << 17],
  ["apxf", 1 << 19],
];

/** Components in IA32_XSS. */
const SUPERVISOR: readonly (readonly [feature: string, components: number])[] = [
  ["intel-pt", 1 << 8],
  ["cet-ss", 0b11 << 11],
  ["arch-lbr", 1 << 15],
];

/** @param flags EAX of subleaf 1: XSAVEOPT and the others @returns nothing without XSAVE */
export function stateComponents(
  supported: readonly CpuidEntry[],
  features: ReadonlySet<string>,
  flags: number,
): CpuidEntry[] {
  if (!features.has("xsave")) return [];
  const find = (subleaf: number) =>
    supported.find((entry) => entry.function === LEAF && entry.index === subleaf);
  const user = maskOf(USER, features, X87_AND_SSE) & (find(0)?.eax ?? X87_AND_SSE);
  const supervisor = features.has("xsaves") ? maskOf(SUPERVISOR, features, 0) & (find(1)?.ecx ?? 0) : 0;
  const entry = (index: number, eax: number, ebx: number, ecx: number): CpuidEntry => {
    return { function: LEAF, index, flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX, eax, ebx, ecx, edx: 0 };
  };
  let standard = FIXED_BYTES;
  let compact = FIXED_BYTES;
  const entries: CpuidEntry[] = [];
  for (let component = 2; component < 32; component++) {
    const bit = 1 << component;
    if (((user | supervisor) & bit) === 0) continue;
    const host = find(component);
    if (host === undefined) continue;
    const { eax: size, ebx: offset, ecx: how } = host;
    if (user & bit) standard = Math.max(standard, offset + size);
    if (how & ALIGNED_WHEN_COMPACT) compact = Math.ceil(compact / 64) * 64;
    compact += size;
    entries.push(entry(component, size, offset, how));
  }
  return [
    entry(0, user, standard, standard),
    entry(1, flags, flags === 0 ? 0 : compact, supervisor),
    ...entries,
  ];
}

function maskOf(
  components: readonly (readonly [feature: string, components: number])[],
  features: ReadonlySet<string>,
  always: number,
): number {
  return components.reduce((mask, [feature, bits]) => (features.has(feature) ? mask | bits : mask), always);
}
