/**
 * The symbol table of an ELF file, as debuggers read it: names of addresses.
 *
 * Source: System V ABI, "Object Files" (gABI 4.1, chapter 4, "Sections" and
 * "Symbol Table"); names are those of <elf.h>. Little-endian x86 files only,
 * with fewer than 65280 sections. Every number in the file is hostile until
 * checked against the length of the file.
 */
import { elfRefusal, I386, X86_64 } from "./elf.ts";
import { BootError, type ByteSource } from "./plan.ts";

export interface ElfSymbol {
  readonly name: string;
  readonly address: bigint;
}

/** More than any kernel has, including its modules. */
const MAX_SYMBOLS = 4 * 2 ** 20;
const MAX_SECTIONS = 0xff00; // SHN_LORESERVE
const MAX_NAME = 512;

const SHT_SYMTAB = 2;
const SHN_UNDEF = 0;
const SHN_ABS = 0xfff1;
const STT_NOTYPE = 0;
const STT_FUNC = 2;

/** Elf32_Ehdr, Elf32_Shdr and Elf32_Sym, or their 64-bit counterparts, as field offsets. */
const KINDS = [
  {
    elf: I386,
    header: { size: 52, shoff: 32, shentsize: 46, shnum: 48 },
    section: { size: 40, type: 4, offset: 16, bytes: 20, link: 24 },
    symbol: { size: 16, name: 0, value: 4, info: 12, shndx: 14 },
  },
  {
    elf: X86_64,
    header: { size: 64, shoff: 40, shentsize: 58, shnum: 60 },
    section: { size: 64, type: 4, offset: 24, bytes: 32, link: 40 },
    symbol: { size: 24, name: 0, value: 8, info: 4, shndx: 6 },
  },
] as const;

/**
 * Functions and labels of assembly, in the order of the file; none if the file
 * was stripped.
 *
 * @throws {BootError} if it is not an ELF file for x86, or a broken one.
 */
export function readElfSymbols(file: ByteSource, name: string): ElfSymbol[] {
  const kind = KINDS.find(({ elf }) => elfRefusal(file, elf) === undefined);
  if (kind === undefined) throw new BootError(`${name}: not an ELF file for x86`);
  const broken = (what: string) => new BootError(`${name}: broken ELF file: ${what}`);
  const take = (offset: number, length: number, what: string): DataView => {
    if (offset + length > file.size) throw broken(`${what} ends beyond byte ${file.size}, the file's last`);
    const bytes = file.read(offset, length);
    if (bytes.length < length) throw broken(`${what} cut off`);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  };
  const word = (data: DataView, at: number) =>
    kind.elf.word === 8 ? data.getBigUint64(at, true) : BigInt(data.getUint32(at, true));

  const header = take(0, kind.header.size, "its header");
  const count = header.getUint16(kind.header.shnum, true);
  if (count === 0) return [];
  const { section, symbol } = kind;
  if (count > MAX_SECTIONS || header.getUint16(kind.header.shentsize, true) !== section.size) {
    throw broken(`${count} section headers`);
  }
  const table = Number(word(header, kind.header.shoff));
  const sections = take(table, count * section.size, "its section headers");
  const content = (index: number, what: string) => {
    const at = index * section.size;
    const offset = Number(word(sections, at + section.offset));
    return take(offset, Number(word(sections, at + section.bytes)), what);
  };

  const symbols: ElfSymbol[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * section.size;
    if (sections.getUint32(at + section.type, true) !== SHT_SYMTAB) continue;
    const link = sections.getUint32(at + section.link, true);
    if (link >= count) throw broken(`symbols with names in section ${link} of ${count}`);
    const entries = content(index, "its symbol table");
    const names = content(link, "its string table");
    const total = Math.floor(entries.byteLength / symbol.size);
    if (total > MAX_SYMBOLS) throw broken(`${total} symbols`);
    for (let entry = 0; entry < total; entry++) {
      const base = entry * symbol.size;
      const shndx = entries.getUint16(base + symbol.shndx, true);
      const type = entries.getUint8(base + symbol.info) & 0xf;
      if (shndx === SHN_UNDEF || shndx === SHN_ABS || (type !== STT_FUNC && type !== STT_NOTYPE)) continue;
      const text = nameAt(names, entries.getUint32(base + symbol.name, true));
      if (text !== "") symbols.push({ name: text, address: word(entries, base + symbol.value) });
    }
  }
  return symbols;
}

function nameAt(names: DataView, offset: number): string {
  if (offset >= names.byteLength) return "";
  const limit = Math.min(names.byteLength - offset, MAX_NAME);
  const bytes = new Uint8Array(names.buffer, names.byteOffset + offset, limit);
  const end = bytes.indexOf(0);
  return new TextDecoder("latin1").decode(end < 0 ? bytes : bytes.subarray(0, end));
}
