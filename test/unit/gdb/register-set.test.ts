import { expect, test } from "vitest";
import { RegisterSet } from "../../../src/gdb/register-set.ts";
import type { CpuState } from "../../../src/gdb/target.ts";
import { targetXml } from "../../../src/gdb/target-xml.ts";
import { FakeDebugTarget } from "../../support/fake-debug-target.ts";

const ARCHITECTURES = ["i386:x86-64", "i386", "i8086"] as const;
const fresh = (): CpuState => new FakeDebugTarget().states[0];
const numberOf = (set: RegisterSet, name: string) =>
  set.features.flatMap(({ registers }) => registers).findIndex((row) => row.name === name);

test("registers go little end first, each in its own width", () => {
  const set = new RegisterSet("i386:x86-64");
  const state = fresh();
  const cpu = { ...state, general: { ...state.general, rax: 0x1122_3344_5566_7788n, rbx: 0xffn } };
  expect(set.one(cpu, 0)).toBe("8877665544332211");
  expect(set.all(cpu)).toMatch(/^8877665544332211ff00000000000000/);
  expect(set.one(cpu, numberOf(set, "eflags"))).toHaveLength(8);
  expect(set.one(cpu, numberOf(set, "st0"))).toHaveLength(20);
  expect(set.one(cpu, numberOf(set, "xmm15"))).toHaveLength(32);
  expect(set.one(cpu, 999)).toBeUndefined();
});

test("gdb's own numbers: rip is 16, cs 18, st0 24, xmm0 40, mxcsr 56; eip is 8, xmm0 32 of a 32-bit CPU", () => {
  const wide = new RegisterSet("i386:x86-64");
  expect(["rip", "cs", "st0", "xmm0", "mxcsr"].map((name) => numberOf(wide, name))).toEqual([
    16, 18, 24, 40, 56,
  ]);
  const narrow = new RegisterSet("i386");
  expect(["eax", "ecx", "eip", "cs", "xmm0", "mxcsr"].map((name) => numberOf(narrow, name))).toEqual([
    0, 1, 8, 10, 32, 40,
  ]);
});

test("pc is the linear address in real mode, and in 64-bit mode whatever the base of CS is", () => {
  const state = fresh();
  const cs = { ...state.special.cs, base: 0xf_0000n, selector: 0xf000 };
  const real: CpuState = {
    ...state,
    general: { ...state.general, rip: 0x100n },
    special: { ...state.special, cs },
  };
  const set = new RegisterSet("i386");
  const eip = numberOf(set, "eip");
  expect(set.one(real, eip)).toBe("00010f00");
  expect(set.changeOne(real, eip, "08010f00")?.general?.rip).toBe(0x108n);
  const long: CpuState = { ...real, special: { ...real.special, efer: 0x500n, cs: { ...cs, l: 1 } } };
  expect(new RegisterSet("i386:x86-64").one(long, 16)).toBe("0001000000000000");
});

test("a selector takes its base along in real mode, and leaves the hidden part alone otherwise", () => {
  const state = fresh();
  const set = new RegisterSet("i386:x86-64");
  const ds = numberOf(set, "ds");
  expect(set.changeOne(state, ds, "34120000")?.special?.ds).toMatchObject({
    selector: 0x1234,
    base: 0x1_2340n,
  });
  const protectedMode = { ...state, special: { ...state.special, cr0: 1n } };
  expect(set.changeOne(protectedMode, ds, "10000000")?.special?.ds).toMatchObject({
    selector: 0x10,
    base: 0n,
  });
});

test.each(ARCHITECTURES)("what G writes, g reads (%s)", (architecture) => {
  const set = new RegisterSet(architecture);
  const state = fresh();
  const other = {
    general: { ...state.general, rax: 1n, rsp: 0x7000n, rip: 0x1234n, rflags: 2n },
    special: { ...state.special, cr0: 0x11n, cr3: 0x1000n },
    fpu: { ...state.fpu, st: state.fpu.st.with(2, 0x3fff_8000_0000_0000_0000n), ftwx: 4, mxcsr: 0x1f80 },
  };
  const wanted = set.all({ ...state, ...other });
  const change = set.changeAll(state, wanted);
  expect(set.all({ ...state, ...change })).toBe(wanted);
  expect(set.changeAll(state, set.all(state))).toEqual({}); // nothing changed, nothing is written
});

test("a register of the wrong width, an incomplete set and one too long are refused", () => {
  const set = new RegisterSet("i386:x86-64");
  const state = fresh();
  for (const hex of ["", "1", "11", "zz11223344556677", "112233445566778899"]) {
    expect(set.changeOne(state, 0, hex), hex).toBeUndefined();
  }
  const all = set.all(state);
  expect(set.changeAll(state, all.slice(2))).toBeUndefined();
  expect(set.changeAll(state, `${all}00`)).toBeUndefined();
  expect(set.changeOne(state, numberOf(set, "k_gs_base"), "1100000000000000")).toBeUndefined(); // cannot be written
});

test("the full tag word is made from the abridged one and the registers", () => {
  const set = new RegisterSet("i386:x86-64");
  const state = fresh();
  // TOP is 6: ST0 is physical register 6, ST1 is 7.
  const fpu = {
    ...state.fpu,
    fsw: 6 << 11,
    ftwx: 0xc0,
    st: state.fpu.st.with(0, 0x3fff_8000_0000_0000_0000n),
  };
  const ftag = numberOf(set, "ftag");
  expect(set.one({ ...state, fpu }, ftag)).toBe("ff4f0000"); // 7: zero (01), 6: valid (00), others empty (11)
  expect(set.changeOne(state, ftag, "ff4f0000")?.fpu?.ftwx).toBe(0xc0);
});

test.each(ARCHITECTURES)("the description names every register once, in order (%s)", (architecture) => {
  const set = new RegisterSet(architecture);
  const xml = targetXml(set);
  const described = [...xml.matchAll(/<reg name="(\w+)" bitsize="(\d+)"/g)].map(
    ([, name, bits]) => `${name}:${bits}`,
  );
  const rows = set.features.flatMap(({ registers }) => registers);
  expect(described).toEqual(rows.map(({ name, bits }) => `${name}:${bits}`));
  expect(new Set(described).size).toBe(described.length);
  expect(xml).toContain(`<architecture>${architecture}</architecture>`);
  const known = new Set(["int", "int32", "int64", "code_ptr", "data_ptr", "i387_ext"]);
  for (const { type } of rows) expect(known.has(type) || xml.includes(`id="${type}"`), type).toBe(true);
});
