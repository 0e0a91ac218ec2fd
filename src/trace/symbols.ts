/**
 * Names for a guest's addresses: from a vmlinux that was not stripped, from a
 * System.map, or from a guest's /proc/kallsyms.
 *
 * A Linux kernel moves itself when it starts (KASLR); then vmlinux and System.map do
 * not match its addresses. Boot it with `nokaslr`; `misfit` detects that this was
 * forgotten.
 */

import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { hex } from "../base/hex.ts";
import { readElfSymbols } from "../boot/elf-symbols.ts";
import type { ByteSource } from "../boot/plan.ts";
import { TraceError } from "./read.ts";

export interface GuestSymbol {
  readonly name: string;
  readonly address: bigint;
}

/** The start of Linux's own code, and of its modules' code: Documentation/arch/x86/x86_64/mm.rst. */
const KERNEL_START = 0xffff_ffff_8000_0000n;
const KERNEL_END = 0xffff_ffff_c000_0000n;

/** The largest distance of an address from its symbol. */
const REACH = 0x1_0000n;

/** System.map and kallsyms: address, type, name; code has one of these types. */
const MAP_LINE = /^([0-9a-f]{8,16}) ([TtWw]) (\S{1,512})/;
const MAX_MAP_BYTES = 256 * 2 ** 20;

export class Symbols {
  readonly #sorted: readonly GuestSymbol[];

  /** @param symbols in any order; of several at one address the first counts */
  constructor(symbols: readonly GuestSymbol[]) {
    this.#sorted = [...symbols].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  }

  get count(): number {
    return this.#sorted.length;
  }

  /** `name+0x12` of the code at `address`; undefined if it belongs to no symbol. */
  nameOf(address: bigint): string | undefined {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const found = this.#sorted[low - 1];
    const offset = address - found.address;
    if (offset >= REACH) return undefined;
    // The first symbol at the address: aliases follow the symbol that they refer to.
    let first = low - 1;
    while (first > 0 && this.#sorted[first - 1].address === found.address) first--;
    const { name } = this.#sorted[first];
    return offset === 0n ? name : `${name}+${hex(offset)}`;
  }

  /** Why these are not the symbols of a guest with these `rips`; undefined if they may be. */
  misfit(rips: readonly bigint[]): string | undefined {
    const own = this.#sorted.filter(({ address }) => isKernel(address));
    if (own.length === 0) return undefined;
    const first = own[0].address;
    const last = own[own.length - 1].address;
    const seen = rips.filter(isKernel);
    const outside = seen.filter((rip) => rip < first || rip > last + REACH).length;
    if (outside === 0) return undefined;
    return (
      `${outside} of ${seen.length} kernel addresses are outside the symbols' range, ` +
      `${hex(first)}-${hex(last)}: the kernel has moved itself (KASLR) or is another one; ` +
      "start the guest with nokaslr on its command line"
    );
  }
}

function isKernel(address: bigint): boolean {
  return address >= KERNEL_START && address < KERNEL_END;
}

/** @throws {TraceError} if the file has no symbols; {BootError} for a broken ELF file; what node:fs throws. */
export function readSymbols(path: string): Symbols {
  const source = openFile(path);
  try {
    const isElf = source.read(0, 4).join() === "127,69,76,70";
    const symbols = isElf ? readElfSymbols(source, path) : readMap(path, source.size);
    if (symbols.length > 0) return new Symbols(symbols);
    throw new TraceError(
      isElf
        ? `${path}: this ELF file was stripped of its symbols; give one with them, or a System.map`
        : `${path}: neither an ELF file nor a System.map: no line in it is an address, a type and a name`,
    );
  } finally {
    source.close();
  }
}

function readMap(path: string, size: number): GuestSymbol[] {
  if (size > MAX_MAP_BYTES) throw new TraceError(`${path}: ${size} bytes are too many for a System.map`);
  return parseSystemMap(readFileSync(path, "latin1"));
}

/** The code symbols of a System.map or /proc/kallsyms. */
export function parseSystemMap(text: string): GuestSymbol[] {
  const symbols: GuestSymbol[] = [];
  for (const line of text.split("\n")) {
    const match = MAP_LINE.exec(line);
    if (match !== null) symbols.push({ address: BigInt(`0x${match[1]}`), name: match[3] });
  }
  // An unprivileged reader of /proc/kallsyms gets zeroes.
  return symbols.every(({ address }) => address === 0n) ? [] : symbols;
}

interface OpenSource extends ByteSource {
  close(): void;
}

function openFile(path: string): OpenSource {
  const { size } = statSync(path);
  const file = openSync(path, "r");
  return {
    size,
    read: (offset, length) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, offset));
    },
    close: () => closeSync(file),
  };
}
