/**
 * The CPU models against what QEMU 11.1.3 gives its guests. scripts/qemu-cpuid/record.mjs made the
 * recordings, with all features on, whatever the host has.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { OptionError } from "../../../../src/base/errors.ts";
import { customCpu } from "../../../../src/machine/cpu/custom-cpu.ts";
import { FEATURE_WORDS } from "../../../../src/machine/cpu/feature-words.ts";
import { cpuHelp } from "../../../../src/machine/cpu/help.ts";
import { vendorRegisters } from "../../../../src/machine/cpu/model-leaves.ts";
import { namesAndTexts } from "../../../../src/machine/cpu/models.ts";
import type { CpuidEntry } from "../../../../src/machine/cpuid.ts";
import { singleSocket, type Topology } from "../../../../src/machine/topology.ts";

type Leaves = Map<string, string>;

interface Difference {
  /** Models by name and versions; all without it. */
  readonly models?: RegExp;
  /** "LEAF SUBLEAF" */
  readonly leaf: RegExp;
  /** Bits of EAX, EBX, ECX and EDX that differ; all without it. */
  readonly bits?: readonly [number, number, number, number];
  readonly because: string;
}

/** Where a guest reads something else than under QEMU, and why. */
const DIFFERENCES: readonly Difference[] = [
  {
    leaf: /^d [2567]$/,
    because: "QEMU shows components of the host that the model does not have; the guest cannot enable them",
  },
  {
    leaf: /^(12|14) /,
    because: "SGX and processor trace are not supported",
  },
  {
    models: /^Dhyana/,
    leaf: /^4 3$/,
    bits: [0, 0, 0, 1 << 2],
    because: "the L3 of leaf 4 is that of leaf 0x8000001D, as on a CPU; QEMU has two descriptions of it",
  },
  {
    models: /^EPYC/,
    leaf: /^80000001 0$/,
    bits: [0, 0, 1 << 23, 0],
    because: "performance counters are hidden: perfctr-core",
  },
  {
    leaf: /^1e 1$/,
    because: "KVM reports the features of AMX there, and a model shows what KVM reports",
  },
];

const read = (file: string) => readFileSync(new URL(file, import.meta.url), "utf8");

function recorded(): { name: string; vendor: string; leaves: Leaves }[] {
  const blocks = read("qemu-11.1-models.txt").split("\n\n").slice(1);
  let before = { base: "", leaves: new Map() as Leaves };
  return blocks.map((block) => {
    const [title, ...lines] = block.trim().split("\n");
    const [name, vendor] = title.split(" ");
    const base = name.replace(/\d+$/, "");
    const leaves: Leaves = new Map(before.base === base ? before.leaves : []);
    for (const line of lines) {
      const [leaf, subleaf, ...values] = line.split(" ");
      if (values[0] === "-") leaves.delete(`${leaf} ${subleaf}`);
      else leaves.set(`${leaf} ${subleaf}`, values.join(" "));
    }
    before = { base, leaves };
    return { name, vendor, leaves };
  });
}

/** A host with every feature, and the state components of the host on which the recordings were made. */
function everything(vendor: string): CpuidEntry[] {
  const entries = new Map<string, CpuidEntry>();
  const set = (leaf: number, subleaf: number, registers: Partial<CpuidEntry>) => {
    const key = `${leaf} ${subleaf}`;
    const before = entries.get(key) ?? { ...EMPTY, function: leaf, index: subleaf };
    entries.set(key, { ...before, ...registers });
  };
  set(0, 0, { eax: 0x29, ...vendorRegisters(vendor) });
  for (const { leaf, subleaf, register, names } of FEATURE_WORDS) {
    const value = [...names.keys()].reduce((all, bit) => all | (1 << bit), 0) >>> 0;
    set(leaf, subleaf, { [register]: value });
  }
  set(0x8000_0008, 0, { eax: 0x3934 });
  set(0xd, 0, { eax: 0xe7, ecx: 0xa80 });
  set(0xd, 2, { eax: 0x100, ebx: 0x240 });
  set(0xd, 5, { eax: 0x40, ebx: 0x440 });
  set(0xd, 6, { eax: 0x200, ebx: 0x480 });
  set(0xd, 7, { eax: 0x400, ebx: 0x680 });
  set(0x1d, 0, { eax: 1 });
  set(0x1d, 1, { eax: 0x0400_2000, ebx: 0x0008_0040, ecx: 0x10 });
  set(0x1e, 0, { ebx: 0x4010 });
  return [...entries.values()];
}

const EMPTY: CpuidEntry = { function: 0, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };

function made(option: string, vendor: string, topology: Topology, index: number): Leaves {
  const cpu = customCpu(option, (sentence) => new OptionError(sentence));
  const entries = cpu.cpuid(everything(vendor), { index, topology }, { tscDeadlineTimer: true });
  const hex = (value: number) => value.toString(16).padStart(8, "0");
  return new Map(
    entries
      .filter(
        ({ function: leaf, eax, ebx, ecx, edx }) => leaf >>> 16 !== 0x4000 && (eax | ebx | ecx | edx) !== 0,
      )
      .map(({ function: leaf, index: subleaf, eax, ebx, ecx, edx }) => [
        `${leaf.toString(16)} ${subleaf}`,
        [eax, ebx, ecx, edx].map(hex).join(" "),
      ]),
  );
}

/** What differs and is not in the list. */
function unexplained(name: string, qemu: Leaves, here: Leaves): string[] {
  return [...new Set([...qemu.keys(), ...here.keys()])].flatMap((leaf) => {
    const [theirs, ours] = [qemu, here].map(
      (leaves) => leaves.get(leaf) ?? "00000000 00000000 00000000 00000000",
    );
    if (theirs === ours) return [];
    const known = DIFFERENCES.some(({ models, leaf: where, bits }) => {
      if (models !== undefined && !models.test(name)) return false;
      if (!where.test(leaf)) return false;
      if (bits === undefined) return true;
      const [a, b] = [theirs, ours].map((text) => text.split(" ").map((word) => Number.parseInt(word, 16)));
      return a.every((value, n) => ((value ^ b[n]) & ~bits[n]) === 0);
    });
    return known ? [] : [`${name} ${leaf}: QEMU ${theirs}, here ${ours}`];
  });
}

test("every model shows its guest what it shows under QEMU, leaf by leaf", () => {
  const differences = recorded().flatMap(({ name, vendor, leaves }) => {
    return unexplained(name, leaves, made(`${name},vendor=${vendor}`, vendor, singleSocket(1), 0));
  });
  expect(differences).toEqual([]);
});

test("there are the models that QEMU has, in all versions", () => {
  const names = namesAndTexts().map(([name]) => name);
  expect(names.filter((name) => /-v\d+$/.test(name)).sort()).toEqual(
    recorded()
      .map(({ name }) => name)
      .sort(),
  );
});

test("-cpu help lists what QEMU's does", () => {
  expect(cpuHelp()).toBe(read("qemu-11.1-cpu-help.txt"));
});

test("CPUs of several sockets, dies, cores and threads are as under QEMU", () => {
  const blocks = read("qemu-11.1-topologies.txt").split("\n\n").slice(1);
  expect(blocks.length).toBeGreaterThan(40);
  const differences = blocks.flatMap((block) => {
    const [title, ...lines] = block.trim().split("\n");
    const [name, vendor, smp] = title.split(" ");
    const number = (key: string) => Number(new RegExp(`${key}=(\\d+)`).exec(smp)?.[1] ?? 1);
    const [sockets, dies, cores, threads] = ["sockets", "dies", "cores", "threads"].map(number);
    const qemu: Leaves = new Map(
      lines.map((line) => {
        const [leaf, subleaf, ...values] = line.split(" ");
        return [`${leaf} ${subleaf}`, values.join(" ")];
      }),
    );
    const last = Number.parseInt(smp, 10) - 1;
    const all = made(`${name},vendor=${vendor}`, vendor, { sockets, dies, cores, threads }, last);
    const here = new Map(
      [...all].filter(([leaf]) => /^(0|1|4|b|1f|80000001|80000008|8000001[de]) /.test(leaf)),
    );
    return unexplained(name, qemu, here).map((text) => `${smp}: ${text}`);
  });
  expect(differences).toEqual([]);
});
