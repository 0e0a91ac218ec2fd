/**
 * The registers that gdb sees, in the order of its "g" packet: for a 64-bit machine
 * or a 32-bit one.
 *
 * Source: GDB manual, Appendix G.5.6 "i386 Features", for the names, and
 * gdb/features/i386 for the order. Control registers are a feature of our own,
 * with QEMU's names.
 *
 * gdb has no segments: its pc is the linear address, CS.base + RIP, so that gdb
 * shows the code there and recognises breakpoints in real mode too.
 */
import type { Fpu } from "../kvm/fpu.ts";
import { hexToValue, valueToHex } from "./hex.ts";
import type { Architecture, CpuChange, CpuState } from "./target.ts";

export interface RegisterRow {
  readonly name: string;
  readonly bits: 32 | 64 | 80 | 128;
  /** A type of gdb, or one that the description defines. */
  readonly type: string;
  readonly group?: "float" | "vector" | "system";
  get(cpu: CpuState): bigint;
  /** The changed part. A register without this function cannot be written. */
  set?(cpu: CpuState, value: bigint): CpuChange;
}

export interface Feature {
  readonly name: string;
  readonly registers: readonly RegisterRow[];
}

type GeneralName = keyof CpuState["general"];
type SegmentName = "cs" | "ss" | "ds" | "es" | "fs" | "gs";
type ControlName = "cr0" | "cr2" | "cr3" | "cr4" | "cr8" | "efer";

const CR0_PE = 1n;
const EFER_LMA = 1n << 10n;

const SEGMENTS: readonly SegmentName[] = ["cs", "ss", "ds", "es", "fs", "gs"];

/** Features of a 64-bit description. */
const FEATURES_64: readonly Feature[] = [
  {
    name: "org.gnu.gdb.i386.core",
    registers: [
      ...(["rax", "rbx", "rcx", "rdx", "rsi", "rdi"] as const).map((name) => general(name, name, 64)),
      general("rbp", "rbp", 64, "data_ptr"),
      general("rsp", "rsp", 64, "data_ptr"),
      ...(["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"] as const).map((name) =>
        general(name, name, 64),
      ),
      programCounter("rip", 64),
      general("eflags", "rflags", 32, "i386_eflags"),
      ...SEGMENTS.map(selector),
      ...x87(),
    ],
  },
  { name: "org.gnu.gdb.i386.sse", registers: sse(16) },
  { name: "org.gnu.gdb.i386.segments", registers: [base("fs"), base("gs")] },
  {
    name: "org.vmexit.control",
    registers: [
      {
        ...{ name: "k_gs_base", bits: 64, type: "int64", group: "system" },
        get: (cpu) => cpu.kernelGsBase,
      },
      control("cr0", 64, "cr0"),
      control("cr2", 64, "data_ptr"),
      control("cr3", 64, "int64"),
      control("cr4", 64, "cr4"),
      control("cr8", 64, "int64"),
      control("efer", 64, "efer"),
    ],
  },
];

/** Features of a 32-bit description. */
const FEATURES_32: readonly Feature[] = [
  {
    name: "org.gnu.gdb.i386.core",
    registers: [
      general("eax", "rax", 32),
      general("ecx", "rcx", 32),
      general("edx", "rdx", 32),
      general("ebx", "rbx", 32),
      general("esp", "rsp", 32, "data_ptr"),
      general("ebp", "rbp", 32, "data_ptr"),
      general("esi", "rsi", 32),
      general("edi", "rdi", 32),
      programCounter("eip", 32),
      general("eflags", "rflags", 32, "i386_eflags"),
      ...SEGMENTS.map(selector),
      ...x87(),
    ],
  },
  { name: "org.gnu.gdb.i386.sse", registers: sse(8) },
  {
    name: "org.vmexit.control",
    registers: [
      control("cr0", 32, "cr0"),
      control("cr2", 32, "data_ptr"),
      control("cr3", 32, "int32"),
      control("cr4", 32, "cr4"),
    ],
  },
];

/** One machine's registers, by gdb's number and as a whole. */
export class RegisterSet {
  readonly features: readonly Feature[];
  readonly architecture: Architecture;
  readonly #rows: readonly RegisterRow[];

  constructor(architecture: Architecture) {
    this.architecture = architecture;
    this.features = architecture === "i386:x86-64" ? FEATURES_64 : FEATURES_32;
    this.#rows = this.features.flatMap(({ registers }) => registers);
  }

  /** The body of an answer to "g". */
  all(cpu: CpuState): string {
    return this.#rows.map((row) => valueToHex(row.get(cpu), row.bits / 8)).join("");
  }

  /** The answer to "p"; undefined if there is no register of that number. */
  one(cpu: CpuState, number: number): string | undefined {
    const row = this.#rows[number];
    return row && valueToHex(row.get(cpu), row.bits / 8);
  }

  /** The change that "P" requests; undefined if the register cannot be written, or not with this value. */
  changeOne(cpu: CpuState, number: number, hex: string): CpuChange | undefined {
    const row = this.#rows[number];
    const value = hexToValue(hex);
    if (row === undefined || value === undefined || hex.length !== row.bits / 4) return undefined;
    return value === row.get(cpu) ? {} : row.set?.(cpu, value);
  }

  /** The change that "G" requests; undefined unless it has every register. Read-only registers do not change. */
  changeAll(cpu: CpuState, hex: string): CpuChange | undefined {
    let change: CpuChange = {};
    let at = 0;
    for (const row of this.#rows) {
      const value = hexToValue(hex.slice(at, at + row.bits / 4));
      at += row.bits / 4;
      if (value === undefined || at > hex.length) return undefined;
      if (value !== row.get(cpu)) change = { ...change, ...row.set?.({ ...cpu, ...change }, value) };
    }
    return at === hex.length ? change : undefined;
  }
}

/** The program counter for gdb. */
export function linearPc({ general, special }: CpuState): bigint {
  return BigInt.asUintN(64, codeBase(special) + general.rip);
}

/** In 64-bit mode the base is 0, whatever the hidden part of CS has. */
function codeBase({ efer, cs }: CpuState["special"]): bigint {
  return (efer & EFER_LMA) !== 0n && cs.l === 1 ? 0n : cs.base;
}

function general(name: string, kept: GeneralName, bits: 32 | 64, type: string = `int${bits}`): RegisterRow {
  return {
    ...{ name, bits, type },
    get: (cpu) => BigInt.asUintN(bits, cpu.general[kept]),
    set: (cpu, value) => ({ general: { ...cpu.general, [kept]: value } }),
  };
}

function programCounter(name: string, bits: 32 | 64): RegisterRow {
  return {
    ...{ name, bits, type: "code_ptr" },
    get: (cpu) => BigInt.asUintN(bits, linearPc(cpu)),
    set: (cpu, value) => {
      const rip = BigInt.asUintN(bits, value - codeBase(cpu.special));
      return { general: { ...cpu.general, rip } };
    },
  };
}

/** The hidden part does not change, except in real mode, where it follows from the selector. */
function selector(name: SegmentName): RegisterRow {
  return {
    ...{ name, bits: 32, type: "int32" },
    get: ({ special }) => BigInt(special[name].selector),
    set: ({ special }, value) => {
      const selector = Number(value & 0xffffn);
      const base = special.cr0 & CR0_PE ? special[name].base : BigInt(selector) << 4n;
      return { special: { ...special, [name]: { ...special[name], selector, base } } };
    },
  };
}

function base(name: "fs" | "gs"): RegisterRow {
  return {
    ...{ name: `${name}_base`, bits: 64, type: "int" },
    get: ({ special }) => special[name].base,
    set: ({ special }, value) => ({ special: { ...special, [name]: { ...special[name], base: value } } }),
  };
}

function control(name: ControlName, bits: 32 | 64, type: string): RegisterRow {
  return {
    ...{ name, bits, type, group: "system" },
    get: ({ special }) => BigInt.asUintN(bits, special[name]),
    set: ({ special }, value) => ({ special: { ...special, [name]: value } }),
  };
}

function x87(): RegisterRow[] {
  const word = (
    name: string,
    get: (fpu: Fpu) => number,
    set: (value: number) => Partial<Fpu>,
  ): RegisterRow => ({
    ...{ name, bits: 32, type: "int", group: "float" },
    get: ({ fpu }) => BigInt(get(fpu)),
    set: ({ fpu }, value) => ({ fpu: { ...fpu, ...set(Number(value & 0xffff_ffffn)) } }),
  });
  const none = () => ({});
  return [
    ...Array.from(
      { length: 8 },
      (_, i): RegisterRow => ({
        ...{ name: `st${i}`, bits: 80, type: "i387_ext", group: "float" },
        get: ({ fpu }) => fpu.st[i],
        set: ({ fpu }, value) => ({ fpu: { ...fpu, st: fpu.st.with(i, value) } }),
      }),
    ),
    word(
      "fctrl",
      (fpu) => fpu.fcw,
      (value) => ({ fcw: value & 0xffff }),
    ),
    word(
      "fstat",
      (fpu) => fpu.fsw,
      (value) => ({ fsw: value & 0xffff }),
    ),
    word("ftag", fullTagWord, (value) => ({ ftwx: abridgedTagWord(value) })),
    word("fiseg", (fpu) => Number((fpu.last_ip >> 32n) & 0xffffn), none),
    word("fioff", (fpu) => Number(fpu.last_ip & 0xffff_ffffn), none),
    word("foseg", (fpu) => Number((fpu.last_dp >> 32n) & 0xffffn), none),
    word("fooff", (fpu) => Number(fpu.last_dp & 0xffff_ffffn), none),
    word("fop", (fpu) => fpu.last_opcode, none),
  ];
}

function sse(count: number): RegisterRow[] {
  return [
    ...Array.from(
      { length: count },
      (_, i): RegisterRow => ({
        ...{ name: `xmm${i}`, bits: 128, type: "vec128", group: "vector" },
        get: ({ fpu }) => fpu.xmm[i],
        set: ({ fpu }, value) => ({ fpu: { ...fpu, xmm: fpu.xmm.with(i, value) } }),
      }),
    ),
    {
      ...{ name: "mxcsr", bits: 32, type: "i386_mxcsr", group: "vector" },
      get: ({ fpu }) => BigInt(fpu.mxcsr),
      set: ({ fpu }, value) => ({ fpu: { ...fpu, mxcsr: Number(value) } }),
    },
  ];
}

const TAG_VALID = 0;
const TAG_ZERO = 1;
const TAG_SPECIAL = 2;
const TAG_EMPTY = 3;

/** Two bits for each physical register, derived from its contents, as FXRSTOR does: SDM volume 1, 10.5.1.1. */
function fullTagWord({ ftwx, fsw, st }: Fpu): number {
  const top = (fsw >> 11) & 7;
  let word = 0;
  for (let physical = 0; physical < 8; physical++) {
    const tag = ftwx & (1 << physical) ? tagOf(st[(physical - top + 8) & 7]) : TAG_EMPTY;
    word |= tag << (2 * physical);
  }
  return word;
}

function tagOf(value: bigint): number {
  const exponent = (value >> 64n) & 0x7fffn;
  const significand = value & 0xffff_ffff_ffff_ffffn;
  if (exponent === 0n) return significand === 0n ? TAG_ZERO : TAG_SPECIAL;
  return exponent === 0x7fffn || significand >> 63n === 0n ? TAG_SPECIAL : TAG_VALID;
}

function abridgedTagWord(word: number): number {
  let ftwx = 0;
  for (let physical = 0; physical < 8; physical++) {
    if (((word >> (2 * physical)) & 3) !== TAG_EMPTY) ftwx |= 1 << physical;
  }
  return ftwx;
}
