import { expect, test } from "vitest";
import { OptionError } from "../../../../src/base/errors.ts";
import { customCpu } from "../../../../src/machine/cpu/custom-cpu.ts";
import { type CpuidEntry, guestCpuid } from "../../../../src/machine/cpuid.ts";
import { singleSocket } from "../../../../src/machine/topology.ts";

const entry = (leaf: number, more: Partial<CpuidEntry>, index = 0): CpuidEntry => {
  return { function: leaf, index, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...more };
};

/** What KVM says on a host of 2008: no AVX, no XSAVE. */
const OLD_HOST: CpuidEntry[] = [
  entry(0, { eax: 0xd, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 }),
  entry(1, { eax: 0x106a5, ebx: 0x800, ecx: 0x0098_2201, edx: 0x0f8b_fbff }),
  entry(7, {}),
  entry(0x4000_0000, { eax: 0x4000_0001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
  entry(0x4000_0001, { eax: 0x0100_7efb }),
  entry(0x8000_0000, { eax: 0x8000_0008 }),
  entry(0x8000_0001, { ecx: 1, edx: 0x2810_0800 }),
  entry(0x8000_0007, { edx: 0x100 }),
  entry(0x8000_0008, { eax: 0x3024 }),
];
const FEATURES = { tscDeadlineTimer: true };
const CPU = { index: 0, topology: singleSocket(1) };

const cpu = (text: string) => customCpu(text, (sentence) => new OptionError(sentence));
const made = (text: string) => cpu(text).cpuid(OLD_HOST, CPU, FEATURES);
const leaf = (entries: readonly CpuidEntry[], number: number) =>
  entries.find((each) => each.function === number && each.index === 0) ?? entry(number, {});
const notes = (text: string, msr?: bigint) => cpu(text).warnings(OLD_HOST, FEATURES, () => msr);

test("what the host lacks is left out, with what needs it, and named once", () => {
  const entries = made("Haswell-noTSX");
  const AVX = 1 << 28;
  const FMA = 1 << 12;
  expect(leaf(entries, 1).ecx & (AVX | FMA)).toBe(0);
  expect(leaf(entries, 7).ebx).toBe(0);
  expect(entries.some((each) => each.function === 0xd)).toBe(false);
  const lines = notes("Haswell-noTSX");
  expect(lines).toContain("warning: host doesn't support requested feature: CPUID[eax=01h].ECX.avx [bit 28]");
  expect(lines).toContain(
    "warning: host doesn't support requested feature: CPUID[eax=07h,ecx=00h].EBX.avx2 [bit 5]",
  );
  expect(new Set(lines).size).toBe(lines.length);
});

test("a feature that is left out is not missed, and one that is added is", () => {
  expect(notes("core2duo,monitor=off")).toEqual([]);
  expect(notes("core2duo,+avx")).toEqual([
    "warning: host doesn't support requested feature: CPUID[eax=01h].ECX.avx [bit 28]",
  ]);
  expect(() => notes("core2duo,+avx,+aes,enforce")).toThrow(
    'cpu: Host doesn\'t support requested features: aes, avx; leave out "enforce" to run without them',
  );
  expect(notes("core2duo,+avx,check=off")).toEqual([]);
});

test("+osxsave, which follows the guest's CR4, and features of nested VMX are accepted with a note", () => {
  expect(notes("core2duo,+osxsave,+vmx-ept")).toEqual([
    "osxsave changes nothing: CPUID shows it when the guest has set CR4.OSXSAVE",
    "vmx-ept changes nothing: the guest sees the VMX features that KVM has",
  ]);
});

test("a model has the host's vendor, unless another is given", () => {
  expect(leaf(made("EPYC"), 0).ebx).toBe(0x756e6547);
  expect(leaf(made("EPYC,vendor=AuthenticAMD"), 0).ebx).toBe(0x68747541);
});

test("names of features are known with underscores, and as old programs write them", () => {
  const SSE41 = 1 << 19;
  expect(leaf(made("core2duo,+sse4_1"), 1).ecx & SSE41).toBe(SSE41);
  expect(leaf(made("Penryn,sse4-1=off"), 1).ecx & SSE41).toBe(0);
  const NX = 1 << 20;
  expect(leaf(made("core2duo,-xd"), 0x8000_0001).edx & NX).toBe(0);
});

test("physical addresses have 40 bits, but not more than on the host", () => {
  expect(leaf(made("core2duo"), 0x8000_0008).eax & 0xff).toBe(36);
  expect(leaf(made("core2duo,phys-bits=39"), 0x8000_0008).eax & 0xff).toBe(39);
});

test("a feature behind the last leaf raises it, unless the level is given", () => {
  expect(leaf(made("pentium2"), 0).eax).toBe(2);
  expect(leaf(made("pentium2,+arat"), 0).eax).toBe(6);
  expect(leaf(made("pentium2,+arat,level=3"), 0).eax).toBe(3);
});

test("the host's CPU is the host's, but for what is said", () => {
  const host = guestCpuid(OLD_HOST, CPU, FEATURES);
  expect(made("host,check")).toEqual(host);
  const changed = made("host,-x2apic,migratable=on,model-id=Mine");
  expect(leaf(changed, 1).ecx).toBe((leaf(host, 1).ecx & ~(1 << 21)) >>> 0);
  expect(leaf(changed, 0x8000_0007).edx).toBe(0);
});

test("Hyper-V's leaves come first, and KVM's behind them", () => {
  const entries = made("core2duo,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-time,hv-vpindex");
  expect(leaf(entries, 0x4000_0000)).toMatchObject({ eax: 0x4000_0005, ebx: 0x7263_694d });
  expect(leaf(entries, 0x4000_0003).eax).toBe(0b10_0111_0010);
  expect(leaf(entries, 0x4000_0004)).toMatchObject({ eax: 0x28, ebx: 0x1fff });
  expect(leaf(entries, 0x4000_0100)).toMatchObject({ eax: 0x4000_0101, ebx: 0x4b4d_564b });
  expect(cpu("core2duo,hv-vpindex,hv-synic").capabilities).toEqual([148]);
});

test("IA32_ARCH_CAPABILITIES is that of the model, as far as the host has it", () => {
  const host = (index: number) => (index === 0x10a ? 0b1011n : undefined);
  expect(cpu("Cascadelake-Server-v2").msrs(host)).toEqual([{ index: 0x10a, data: 0b1011n }]);
  expect(cpu("Cascadelake-Server-v2,-ibrs-all").msrs(host)).toEqual([{ index: 0x10a, data: 0b1001n }]);
  expect(cpu("host").msrs(host)).toEqual([]);
});

test.each([
  ["nosuch", "unable to find CPU model 'nosuch'"],
  ["qemu64,+nosuch", "Property 'qemu64-x86_64-cpu.nosuch' not found"],
  ["qemu64,avx=1", "Parameter 'avx' expects 'on' or 'off'"],
  ["qemu64,level=x", "Parameter 'level' expects a number"],
  ["qemu64,phys-bits=99", "phys-bits=99 is out of range; give a number from 32 to 52"],
  ["qemu64,vendor=abc", "Property 'vendor' needs 12 characters, as in AuthenticAMD"],
  ["qemu64,hv-stimer", "hv-stimer requires hv-synic"],
  ["qemu64,hv-evmcs", "hv-evmcs is not supported"],
  ["qemu64,pmu=on", "pmu=on is not possible: it is always off"],
])("-cpu %s: %s", (text, sentence) => {
  expect(() => cpu(text)).toThrow(sentence);
});
