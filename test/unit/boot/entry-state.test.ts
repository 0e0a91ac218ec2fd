import { expect, test } from "vitest";
import { entryState } from "../../../src/boot/entry-state.ts";
import * as low from "../../../src/boot/low-memory.ts";
import { madeBytes } from "../../support/boot-images.ts";

test("a real-mode guest starts at CS:IP of its address with data and stack in the same segment", () => {
  const state = entryState({ mode: "real16", rip: 0x7c05, registers: { rsp: 0xfffe } });
  expect(state.cs).toMatchObject({
    selector: 0x7c0,
    base: 0x7c00n,
    limit: 0xffff,
    g: 0,
    db: 0,
    l: 0,
    present: 1,
  });
  expect(state.rip).toBe(5n);
  for (const segment of [state.ds, state.es, state.ss]) {
    expect(segment).toMatchObject({ selector: 0x7c0, base: 0x7c00n, type: 3, s: 1 });
  }
  expect(state.cr0 & 1n).toBe(0n);
  expect(state.registers.rsp).toBe(0xfffen);
  expect(state.placements).toEqual([]);
});

test("a PVH guest starts in flat 32-bit protected mode without paging, with a busy TSS of 0x68 bytes", () => {
  const state = entryState({ mode: "protected32", rip: 0x1000040, registers: { rbx: 0x9000 } });
  expect([state.cr0, state.cr3, state.cr4, state.efer, state.rflags]).toEqual([0x11n, 0n, 0n, 0n, 2n]);
  expect(state.cs).toMatchObject({
    base: 0n,
    limit: 0xffffffff,
    selector: 0x10,
    type: 0xb,
    db: 1,
    l: 0,
    g: 1,
    s: 1,
  });
  expect(state.ds).toMatchObject({
    base: 0n,
    limit: 0xffffffff,
    selector: 0x18,
    type: 0x3,
    db: 1,
    g: 1,
    s: 1,
  });
  expect(state.tr).toMatchObject({ base: 0n, limit: 0x67, type: 0xb, s: 0, present: 1 });
  expect(state.ldt.present).toBe(0);
  expect(state.registers.rbx).toBe(0x9000n);
  expect([state.registers.rbp, state.registers.rdi, state.registers.rsi]).toEqual([0n, 0n, 0n]);
});

test("a 64-bit guest starts in long mode with paging on", () => {
  const state = entryState({ mode: "long64", rip: 0x1000200, registers: { rsi: 0x8000 } });
  expect([state.cr0, state.cr4, state.efer]).toEqual([0x80000011n, 0x20n, 0x500n]);
  expect(state.cs).toMatchObject({ selector: 0x10, type: 0xb, l: 1, db: 0, g: 1 });
  expect(state.ss).toMatchObject({ selector: 0x18, type: 0x3, db: 1 });
  expect(state.registers.rsi).toBe(0x8000n);
  expect(state.rip).toBe(0x1000200n);
});

test("the GDT in memory says what the segment registers say", () => {
  const bytes = (mode: "protected32" | "long64") => {
    const state = entryState({ mode, rip: 0x100000, registers: {} });
    expect(state.gdt).toEqual({ base: 0x1000n, limit: 47 });
    return madeBytes(state.placements, "GDT");
  };
  const gdt32 = bytes("protected32");
  expect(gdt32.getBigUint64(0, true)).toBe(0n);
  expect(gdt32.getBigUint64(0x10, true)).toBe(0x00cf9b000000ffffn); // Linux' GDT_ENTRY(0xc09b, 0, 0xfffff)
  expect(gdt32.getBigUint64(0x18, true)).toBe(0x00cf93000000ffffn);
  expect(gdt32.getBigUint64(0x20, true)).toBe(0x00008b0000000067n);
  expect(bytes("long64").getBigUint64(0x10, true)).toBe(0x00af9b000000ffffn);
});

test("every address below 4 GiB is mapped to itself, and no other", () => {
  const state = entryState({ mode: "long64", rip: 0x100000, registers: {} });
  const tables = madeBytes(state.placements, "page tables");
  const base = 0x2000;
  expect(state.cr3).toBe(BigInt(base));
  const entry = (table: bigint, index: number) => tables.getBigUint64(Number(table) - base + index * 8, true);
  const walk = (address: number) => {
    let value = state.cr3;
    for (const span of [2 ** 39, 2 ** 30, 2 ** 21]) {
      value = entry(value & ~0xfffn, Math.floor(address / span) % 512);
      if ((value & 3n) !== 3n) return undefined; // present, writable
    }
    expect(value & 0x80n).toBe(0x80n); // a 2 MiB page
    return Number(value & ~0x1fffffn) + (address % 2 ** 21);
  };
  for (const address of [0, 0x8000, 0x1000200, 0x7fffffff, 0xc0000000, 0xfee00000, 0xffffffff]) {
    expect(walk(address)).toBe(address);
  }
  expect(walk(2 ** 32)).toBeUndefined();
  expect(walk(2 ** 39)).toBeUndefined();
});

test("no two things below 1 MiB share a page", () => {
  const owned = [low.GDT, low.PAGE_TABLES, low.ZERO_PAGE, low.START_INFO, low.CMDLINE, low.ACPI_AREA];
  const sorted = owned.sort((a, b) => a.address - b.address);
  expect(sorted[0].address).toBeGreaterThan(low.BIOS_DATA.address + low.BIOS_DATA.size);
  for (const [i, range] of sorted.entries()) {
    expect(range.address % 4096).toBe(0);
    expect(range.address + range.size).toBeLessThanOrEqual(sorted[i + 1]?.address ?? 0x100000);
  }
});
