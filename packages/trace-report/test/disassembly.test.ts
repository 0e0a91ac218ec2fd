import { expect, test } from "vitest";
import type { ExitRecord } from "vmexit/trace";
import { Disassembly } from "../src/disassembly.ts";
import { bareExit, exit } from "./support/sample-trace.ts";

/** What the listings of these exits say, the cause marked. */
function texts(...exits: ExitRecord[]): string[][] {
  const code = new Disassembly();
  return exits.map((each) => {
    const listing = code.listings[code.listingOf(each) ?? -1];
    return listing === undefined
      ? []
      : listing.lines.map(({ text }, n) => (n === listing.cause ? `> ${text}` : text));
  });
}

test("code is as wide as the mode of the CPU says", () => {
  // 48 b8 …: a REX prefix and a 64-bit move, or a decrement and a shorter move.
  const code = "48b80102030405060708";
  expect(texts(exit(1, 0, { code, mode: "long" }))[0]).toEqual(["mov rax, 0x807060504030201"]);
  expect(texts(exit(1, 0, { code, mode: "protected" }))[0][0]).toBe("dec eax");
  expect(texts(exit(1, 0, { code: "b80102", mode: "real" }))[0]).toEqual(["mov ax, 0x201"]);
});

test("the instruction at RIP is the cause if it is one that can be", () => {
  expect(texts(exit(1, 0, { code: "eeecf4" }))).toEqual([["> out dx, al", "in al, dx", "hlt"]]);
  expect(texts(exit(1, 0, { code: "90ee" }))).toEqual([["nop", "out dx, al"]]);
});

test("an instruction that KVM has stepped past is found where an earlier exit showed it", () => {
  const [, halted] = texts(
    exit(1, 0, { rip: "0x1000", code: "eef4" }),
    bareExit(2, 9000, "HLT", { rip: "0x1002", code: "ebfc" }),
  );
  expect(halted[0]).toBe("> hlt");
  expect(halted[1]).toMatch(/^jmp/);
});

test("what lies before RIP and cannot be the cause is not taken for it", () => {
  const [, other] = texts(
    exit(1, 0, { rip: "0x1000", code: "eef4" }),
    exit(2, 9000, { rip: "0x1002", code: "90" }),
  );
  expect(other).toEqual(["nop"]);
});

test("a store to MMIO is the instruction before RIP, a load the one at RIP", () => {
  const at = (rip: "0x1000" | "0x1004" | "0x1002", direction: "read" | "write", code: string): ExitRecord =>
    bareExit(1, 0, "MMIO", { mode: "long", rip, direction, address: 0xd000, size: 4, code });
  // mov eax,[rbx]; mov [rbx],eax; mov [rcx],eax
  const [read, write] = texts(at("0x1000", "read", "8b0389038901"), at("0x1004", "write", "8901"));
  expect(read[0]).toBe("> mov eax, [rbx]");
  expect(write).toEqual(["> mov [rbx], eax", "mov [rcx], eax"]);
});

test("bytes that are not an instruction, or end in the middle of one, end the listing", () => {
  expect(texts(exit(1, 0, { mode: "long", code: "90" + "06" }))).toEqual([["nop"]]);
  expect(texts(exit(1, 0, { mode: "long", code: "9048b801" }))).toEqual([["nop"]]);
  expect(texts(exit(1, 0, { mode: "long", code: "06" }))).toEqual([[]]);
});

test("an exit without code has no listing, and the same code has one", () => {
  const code = new Disassembly();
  expect(code.listingOf(exit(1, 0))).toBeUndefined();
  expect(code.listingOf(exit(2, 0, { code: "" }))).toBeUndefined();
  expect(code.listingOf(exit(3, 0, { code: "ee" }))).toBe(code.listingOf(exit(4, 0, { code: "ee" })));
  expect(code.listings).toHaveLength(1);
});
