/**
 * The Hyper-V interface that KVM offers to Windows guests, as CPUID shows it.
 *
 * Source: Microsoft, Hypervisor Top Level Functional Specification 6.0b, 2.4 to 2.5 (leaves 0x4000_0000 to
 * 05, and the names of bits); Linux api.rst, 4.118 and 7.13 (KVM_CAP_HYPERV_SYNIC2). What has to be
 * enabled before what is as in QEMU's docs/system/i386/hyperv.
 */
import type { CpuidEntry } from "../cpuid.ts";

export const HYPER_V = [
  "hv-relaxed",
  "hv-vapic",
  "hv-spinlocks",
  "hv-vpindex",
  "hv-runtime",
  "hv-synic",
  "hv-stimer",
  "hv-time",
  "hv-reset",
  "hv-frequencies",
  "hv-tlbflush",
  "hv-ipi",
] as const;

export type HyperVName = (typeof HYPER_V)[number];

/** Those of QEMU that are not here. */
export const OTHER_HYPER_V: readonly string[] = [
  ...[
    "hv-passthrough",
    "hv-crash",
    "hv-reenlightenment",
    "hv-evmcs",
    "hv-avic",
    "hv-apicv",
    "hv-stimer-direct",
  ],
  ...["hv-emsr-bitmap", "hv-tlbflush-ext", "hv-tlbflush-direct", "hv-xmm-input", "hv-syndbg", "hv-vendor-id"],
  ...["hv-no-nonarch-coresharing", "hv-enforce-cpuid"],
];

/** What each needs besides itself. */
export const HYPER_V_NEEDS: ReadonlyMap<HyperVName, readonly HyperVName[]> = new Map<
  HyperVName,
  readonly HyperVName[]
>([
  ["hv-synic", ["hv-vpindex"]],
  ["hv-stimer", ["hv-synic", "hv-time"]],
  ["hv-tlbflush", ["hv-vpindex"]],
  ["hv-ipi", ["hv-vpindex"]],
]);

const FIRST = 0x4000_0000;
const LAST = FIRST + 5;
const MICROSOFT_HV = { ebx: 0x7263_694d, ecx: 0x666f_736f, edx: 0x7648_2074 };
const INTERFACE_HV1 = 0x3123_7648;
/** 10.0.14393. */
const BUILD = 14393;
const VERSION = 10 << 16;

/** EAX of 0x4000_0003: MSRs that the guest may use. */
const PRIVILEGES: readonly (readonly [HyperVName, number])[] = [
  ["hv-runtime", 1 << 0],
  ["hv-time", (1 << 1) | (1 << 9)],
  ["hv-synic", 1 << 2],
  ["hv-stimer", 1 << 3],
  ["hv-vapic", 1 << 4],
  ["hv-vpindex", 1 << 6],
  ["hv-reset", 1 << 7],
  ["hv-frequencies", 1 << 11],
];
const HYPERCALL_MSRS = 1 << 5;
/** EBX: PostMessages and SignalEvent. */
const SYNIC_HYPERCALLS = (1 << 4) | (1 << 5);
/** EDX of the same leaf. */
const FREQUENCY_MSRS = 1 << 8;

/** EAX of 0x4000_0004: what the guest should do. */
const ADVICE: readonly (readonly [HyperVName, number])[] = [
  ["hv-tlbflush", (1 << 2) | (1 << 11)],
  ["hv-vapic", 1 << 3],
  ["hv-reset", 1 << 4],
  ["hv-relaxed", 1 << 5],
  ["hv-ipi", (1 << 10) | (1 << 11)],
];
const NEVER_NOTIFY = 0xffff_ffff;
const MAX_CPUS = 0xffff_ffff;
const MAX_LOGICAL = 0x40;

/** @returns nothing without a name */
export function hyperVLeaves(enabled: ReadonlyMap<HyperVName, number>): CpuidEntry[] {
  if (enabled.size === 0) return [];
  const bits = (of: readonly (readonly [HyperVName, number])[]) =>
    of.reduce((all, [name, bit]) => (enabled.has(name) ? all | bit : all), 0);
  const leaf = (fn: number, eax: number, ebx = 0, ecx = 0, edx = 0): CpuidEntry => {
    return { function: fn, index: 0, flags: 0, eax: eax >>> 0, ebx: ebx >>> 0, ecx, edx };
  };
  const { ebx, ecx, edx } = MICROSOFT_HV;
  return [
    leaf(FIRST, LAST, ebx, ecx, edx),
    leaf(FIRST + 1, INTERFACE_HV1),
    leaf(FIRST + 2, BUILD, VERSION),
    leaf(
      FIRST + 3,
      bits(PRIVILEGES) | HYPERCALL_MSRS,
      enabled.has("hv-synic") ? SYNIC_HYPERCALLS : 0,
      0,
      enabled.has("hv-frequencies") ? FREQUENCY_MSRS : 0,
    ),
    leaf(FIRST + 4, bits(ADVICE), enabled.get("hv-spinlocks") ?? NEVER_NOTIFY),
    leaf(LAST, MAX_CPUS, MAX_LOGICAL),
  ];
}
