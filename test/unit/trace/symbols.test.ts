/** Names of a guest's addresses, from the files that have them. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readElfSymbols } from "../../../src/boot/elf-symbols.ts";
import { BootError, type ByteSource } from "../../../src/boot/plan.ts";
import { parseSystemMap, readSymbols, Symbols } from "../../../src/trace/symbols.ts";
import { random } from "../../support/random.ts";

const folder = mkdtempSync(join(tmpdir(), "vmexit-symbols-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function source(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

/** An ELF64 file with a null section, .symtab and .strtab. */
function elf64(
  symbols: readonly { name: string; value: bigint; type?: number; shndx?: number }[],
): Uint8Array {
  const names = `\0${symbols.map(({ name }) => `${name}\0`).join("")}`;
  const symtab = 64;
  const strtab = symtab + 24 * symbols.length;
  const sections = strtab + names.length;
  const bytes = new Uint8Array(sections + 3 * 64);
  const data = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  data.setUint16(16, 2, true); // e_type
  data.setUint16(18, 62, true); // e_machine
  data.setBigUint64(40, BigInt(sections), true);
  data.setUint16(58, 64, true);
  data.setUint16(60, 3, true);
  let name = 1;
  symbols.forEach((symbol, n) => {
    const at = symtab + 24 * n;
    data.setUint32(at, name, true);
    data.setUint8(at + 4, 0x10 | (symbol.type ?? 2));
    data.setUint16(at + 6, symbol.shndx ?? 1, true);
    data.setBigUint64(at + 8, symbol.value, true);
    name += symbol.name.length + 1;
  });
  bytes.set(Buffer.from(names, "latin1"), strtab);
  const section = (index: number, type: number, offset: number, size: number, link: number) => {
    const at = sections + 64 * index;
    data.setUint32(at + 4, type, true);
    data.setBigUint64(at + 24, BigInt(offset), true);
    data.setBigUint64(at + 32, BigInt(size), true);
    data.setUint32(at + 40, link, true);
  };
  section(1, 2, symtab, 24 * symbols.length, 2);
  section(2, 3, strtab, names.length, 0);
  return bytes;
}

const KERNEL = elf64([
  { name: "start", value: 0xffff_ffff_8100_0000n },
  { name: "label", value: 0xffff_ffff_8100_0040n, type: 0 },
  { name: "variable", value: 0xffff_ffff_8200_0000n, type: 1 },
  { name: "elsewhere", value: 0n, shndx: 0 },
]);

test("functions and labels of an ELF file have names, data and what lies elsewhere has not", () => {
  expect(readElfSymbols(source(KERNEL), "vmlinux")).toEqual([
    { name: "start", address: 0xffff_ffff_8100_0000n },
    { name: "label", address: 0xffff_ffff_8100_0040n },
  ]);
  const symbols = readSymbols(file("vmlinux", KERNEL));
  expect(symbols.nameOf(0xffff_ffff_8100_0000n)).toBe("start");
  expect(symbols.nameOf(0xffff_ffff_8100_003fn)).toBe("start+0x3f");
  expect(symbols.nameOf(0xffff_ffff_8100_0041n)).toBe("label+0x1");
  expect(symbols.nameOf(0xffff_ffff_80ff_ffffn)).toBeUndefined();
  expect(symbols.nameOf(0xffff_ffff_8300_0000n)).toBeUndefined();
});

test.runIf(existsSync("/usr/bin/nm"))("a program of this machine has the symbols that nm lists", () => {
  const path = process.execPath;
  const theirs = execFileSync("/usr/bin/nm", [path], { maxBuffer: 2 ** 28, encoding: "latin1" });
  const expected = theirs.split("\n").filter((line) => / [TtWw] main$/.test(line));
  if (expected.length === 0) return; // it was stripped
  const symbols = readSymbols(path);
  expect(symbols.nameOf(BigInt(`0x${expected[0].split(" ")[0]}`))).toBe("main");
});

test("System.map and /proc/kallsyms are read alike", () => {
  const map = "ffffffff81000000 T _text\nffffffff81000100 t serial8250_out\nffffffff82000000 D data\n";
  expect(parseSystemMap(map).map(({ name }) => name)).toEqual(["_text", "serial8250_out"]);
  const modules = "ffffffffc0000000 t virtio_blk_probe\t[virtio_blk]\n";
  expect(readSymbols(file("kallsyms", map + modules)).nameOf(0xffff_ffff_c000_0004n)).toBe(
    "virtio_blk_probe+0x4",
  );
});

test("files without symbols say what would do instead", () => {
  expect(() => readSymbols(file("stripped", elf64([])))).toThrow(
    "stripped of its symbols; give one with them",
  );
  expect(() => readSymbols(file("text", "hello\n"))).toThrow("neither an ELF file nor a System.map");
  // What /proc/kallsyms shows to somebody without privileges.
  expect(() => readSymbols(file("zeroes", "0000000000000000 T _text\n"))).toThrow("neither an ELF file");
  expect(() => readSymbols(join(folder, "none"))).toThrow("ENOENT");
});

test("a kernel that moved itself is noticed, and one that did not is left in peace", () => {
  const symbols = new Symbols([
    { name: "a", address: 0xffff_ffff_8100_0000n },
    { name: "b", address: 0xffff_ffff_8200_0000n },
  ]);
  expect(symbols.misfit([0x1000n, 0xffff_ffff_8180_0000n, 0xffff_ffff_c012_3456n])).toBeUndefined();
  expect(symbols.misfit([0xffff_ffff_8180_0000n, 0xffff_ffff_9380_0000n])).toContain(
    "1 of 2 kernel addresses",
  );
});

test("an ELF file with any bytes changed gives symbols or an error of its own, at once", () => {
  const next = random(1);
  const below = (limit: number) => Math.floor(next() * limit);
  for (let round = 0; round < 2000; round++) {
    const bytes = KERNEL.slice(0, below(4) === 0 ? below(KERNEL.length) : KERNEL.length);
    for (let n = below(6); n >= 0 && bytes.length > 0; n--) bytes[below(bytes.length)] = below(256);
    try {
      expect(Array.isArray(readElfSymbols(source(bytes), "fuzz"))).toBe(true);
    } catch (error) {
      expect(error).toBeInstanceOf(BootError);
    }
  }
});
