/**
 * What a boot loader reads of an ELF file: program headers and notes.
 *
 * Source: System V ABI, "Object Files" (gABI 4.1, chapters 4 and 5); names are
 * those of <elf.h>. Little-endian x86 files only. Sections and symbols are not
 * read. Every number in the file is hostile until it is checked against the
 * length of the file.
 */
import { hex } from "../base/hex.ts";
import { BootError, type ByteSource, type Placement } from "./plan.ts";

/** More program headers than any kernel has. */
const MAX_PHNUM = 256;
/** More bytes of notes than any kernel has. */
const MAX_NOTES = 2 ** 20;

const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const EI_CLASS = 4;
const EI_DATA = 5;
const ELFDATA2LSB = 1;
const E_MACHINE = 18;
const E_ENTRY = 24;
/** Bytes up to the end of e_machine. */
const E_IDENTITY_SIZE = 20;

export const PT_LOAD = 1;
const PT_NOTE = 4;
const NOTE_HEADER_SIZE = 12;

/**
 * A kind of file that a boot protocol accepts: Elf32_Ehdr and Elf32_Phdr, or their
 * 64-bit counterparts, as field offsets.
 */
interface ElfKind {
  readonly text: string;
  readonly class: number;
  readonly machines: readonly number[];
  /** Bytes of an address or a length. */
  readonly word: 4 | 8;
  readonly header: {
    readonly size: number;
    readonly phoff: number;
    readonly phentsize: number;
    readonly phnum: number;
  };
  readonly segment: {
    readonly size: number;
    readonly offset: number;
    readonly vaddr: number;
    readonly paddr: number;
    readonly filesz: number;
    readonly memsz: number;
    readonly align: number;
  };
}

export const I386: ElfKind = {
  text: "32-bit one for x86",
  class: 1, // ELFCLASS32
  machines: [3, 62], // EM_386; EM_X86_64 is the x32 ABI
  word: 4,
  header: { size: 52, phoff: 28, phentsize: 42, phnum: 44 },
  segment: { size: 32, offset: 4, vaddr: 8, paddr: 12, filesz: 16, memsz: 20, align: 28 },
};

export const X86_64: ElfKind = {
  text: "64-bit one for x86-64",
  class: 2, // ELFCLASS64
  machines: [62], // EM_X86_64
  word: 8,
  header: { size: 64, phoff: 32, phentsize: 54, phnum: 56 },
  segment: { size: 56, offset: 8, vaddr: 16, paddr: 24, filesz: 32, memsz: 40, align: 48 },
};

export interface ElfImage {
  /** e_entry: a virtual address. */
  readonly entry: number;
  readonly headers: readonly ProgramHeader[];
}

export interface ProgramHeader {
  readonly type: number;
  /** In the file. */
  readonly offset: number;
  readonly virtualAddress: number;
  readonly physicalAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly alignment: number;
}

export interface Note {
  readonly name: string;
  readonly type: number;
  readonly description: Uint8Array;
}

/** Why this is not an ELF file of one of these kinds; undefined if it is one, whole or broken. */
export function elfRefusal(file: ByteSource, ...kinds: readonly ElfKind[]): string | undefined {
  const start = file.read(0, E_IDENTITY_SIZE);
  if (start.length < MAGIC.length || MAGIC.some((byte, i) => start[i] !== byte))
    return "no magic 7f 45 4c 46";
  if (start.length < E_IDENTITY_SIZE) return;
  const identity = viewOf(start);
  const isOne = kinds.some(
    (kind) =>
      identity.getUint8(EI_CLASS) === kind.class &&
      identity.getUint8(EI_DATA) === ELFDATA2LSB &&
      kind.machines.includes(identity.getUint16(E_MACHINE, true)),
  );
  if (isOne) return;
  return `an ELF file, but not a ${kinds.map(({ text }) => text).join(" or a ")}`;
}

/** @throws {BootError} if it is not an ELF file of that kind or a segment lies outside it. */
export function readElf(file: ByteSource, kind: ElfKind, name: string): ElfImage {
  const refusal = elfRefusal(file, kind);
  if (refusal !== undefined) throw new BootError(`${name}: ${refusal}`);
  const start = file.read(0, kind.header.size);
  if (start.length < kind.header.size) {
    throw new BootError(`${name}: ELF file cut off after ${start.length} bytes`);
  }
  const header = viewOf(start);
  const table = wordAt(header, kind.header.phoff, kind);
  const count = header.getUint16(kind.header.phnum, true);
  const entrySize = header.getUint16(kind.header.phentsize, true);
  const { size } = kind.segment;
  if (count === 0) throw new BootError(`${name}: an ELF file without program headers: nothing to load`);
  if (count > MAX_PHNUM || entrySize !== size || table + count * size > file.size) {
    throw new BootError(
      `${name}: broken ELF file: ${count} program headers of ${entrySize} bytes at ${hex(table)}`,
    );
  }
  const bytes = file.read(table, count * size);
  if (bytes.length < count * size) throw new BootError(`${name}: ELF program headers cut off`);
  const data = viewOf(bytes);
  return {
    entry: wordAt(header, E_ENTRY, kind),
    headers: Array.from({ length: count }, (_, i) => readProgramHeader(data, i, kind, file, name)),
  };
}

function readProgramHeader(
  data: DataView,
  index: number,
  kind: ElfKind,
  file: ByteSource,
  name: string,
): ProgramHeader {
  const fields = kind.segment;
  const base = index * fields.size;
  const word = (offset: number) => wordAt(data, base + offset, kind);
  const header: ProgramHeader = {
    type: data.getUint32(base, true),
    offset: word(fields.offset),
    virtualAddress: word(fields.vaddr),
    physicalAddress: word(fields.paddr),
    fileSize: word(fields.filesz),
    memorySize: word(fields.memsz),
    alignment: word(fields.align),
  };
  const isLoaded = header.type === PT_LOAD;
  if (isLoaded && header.fileSize > 0 && header.offset + header.fileSize > file.size) {
    throw new BootError(
      `${name}: ELF segment ${index} ends at byte ${header.offset + header.fileSize} of a file of ${file.size}`,
    );
  }
  if (isLoaded && header.fileSize > header.memorySize) {
    throw new BootError(`${name}: ELF segment ${index} is larger in the file than in memory`);
  }
  return header;
}

/** The PT_LOAD segments that are not empty, at the physical addresses that the file gives. */
export function loadedSegments(headers: readonly ProgramHeader[]): Placement[] {
  return headers
    .filter((header) => header.type === PT_LOAD && header.memorySize > 0)
    .map((header, i) => ({
      what: `ELF segment ${i}`,
      address: header.physicalAddress,
      size: header.memorySize,
      data: { file: "kernel", offset: header.offset, length: header.fileSize },
    }));
}

/**
 * The notes of all PT_NOTE segments. A note that runs past the end of its segment ends the list.
 *
 * gABI aligns notes to 8 bytes in 64-bit files. Everything but .note.gnu.property uses 4, and a
 * linker puts both kinds into one segment, whose alignment is then 8. Such a segment is read both
 * ways: with 4, which is right for both kinds as the property's description is a multiple of 8, and
 * with 8.
 */
export function readNotes(file: ByteSource, headers: readonly ProgramHeader[], name: string): Note[] {
  const notes: Note[] = [];
  let total = 0;
  for (const header of headers) {
    if (header.type !== PT_NOTE) continue;
    total += header.fileSize;
    if (total > MAX_NOTES) throw new BootError(`${name}: broken ELF file: more than 1 MiB of notes`);
    const bytes = file.read(header.offset, header.fileSize);
    notes.push(...notesIn(bytes, 4));
    if (header.alignment === 8) notes.push(...notesIn(bytes, 8));
  }
  return notes;
}

function notesIn(bytes: Uint8Array, alignment: 4 | 8): Note[] {
  const data = viewOf(bytes);
  const align = (offset: number) => Math.ceil(offset / alignment) * alignment;
  const notes: Note[] = [];
  let at = 0;
  while (at + NOTE_HEADER_SIZE <= bytes.length) {
    const nameSize = data.getUint32(at, true);
    const descriptionSize = data.getUint32(at + 4, true);
    if (nameSize > bytes.length || descriptionSize > bytes.length) break;
    const name = at + NOTE_HEADER_SIZE;
    const description = align(name + nameSize);
    if (description + descriptionSize > bytes.length) break;
    notes.push({
      name: nameOf(bytes.subarray(name, name + nameSize)),
      type: data.getUint32(at + 8, true),
      description: bytes.subarray(description, description + descriptionSize),
    });
    at = align(description + descriptionSize);
  }
  return notes;
}

/** Up to the terminating zero of the name. */
function nameOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...bytes.subarray(0, Math.min(end < 0 ? bytes.length : end, 32)));
}

function wordAt(data: DataView, offset: number, { word }: ElfKind): number {
  return word === 8 ? Number(data.getBigUint64(offset, true)) : data.getUint32(offset, true);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
