/**
 * What a boot loader reads of an ELF file: program headers and notes.
 *
 * Source: System V ABI, "Object Files" (gABI 4.1, chapters 4 and 5); names are
 * those of <elf.h>. 64-bit little-endian x86-64 files only. Sections and
 * symbols are not looked at. Every number in the file is hostile until checked
 * against the length of the file.
 */
import { BootError, type ByteSource } from "./plan.ts";
import { hex } from "./ram.ts";

const EHDR_SIZE = 64;
const PHDR_SIZE = 56;
/** More program headers than any kernel has. */
const MAX_PHNUM = 256;
/** More bytes of notes than any kernel has. */
const MAX_NOTES = 2 ** 20;

const MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const EI_CLASS = 4;
const EI_DATA = 5;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const E_MACHINE = 18;
const EM_X86_64 = 62;
const E_PHOFF = 32;
const E_PHENTSIZE = 54;
const E_PHNUM = 56;

export const PT_LOAD = 1;
export const PT_NOTE = 4;

export interface ProgramHeader {
  readonly type: number;
  /** In the file. */
  readonly offset: number;
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

/** Why this is no ELF file at all; undefined if it is one, whole or broken. */
export function elfRefusal(file: ByteSource): string | undefined {
  const magic = file.read(0, MAGIC.length);
  if (magic.length === MAGIC.length && MAGIC.every((byte, i) => magic[i] === byte)) return;
  return "no magic 7f 45 4c 46";
}

/** @throws {BootError} if it is no x86-64 ELF file or a segment lies outside it. */
export function readProgramHeaders(file: ByteSource, name: string): ProgramHeader[] {
  const start = file.read(0, EHDR_SIZE);
  if (start.length < EHDR_SIZE) throw new BootError(`${name}: ELF file cut off after ${start.length} bytes`);
  const header = viewOf(start);
  if (
    header.getUint8(EI_CLASS) !== ELFCLASS64 ||
    header.getUint8(EI_DATA) !== ELFDATA2LSB ||
    header.getUint16(E_MACHINE, true) !== EM_X86_64
  ) {
    throw new BootError(`${name}: an ELF file, but not a 64-bit one for x86-64`);
  }
  const table = Number(header.getBigUint64(E_PHOFF, true));
  const count = header.getUint16(E_PHNUM, true);
  const entrySize = header.getUint16(E_PHENTSIZE, true);
  if (count === 0) throw new BootError(`${name}: an ELF file without program headers: nothing to load`);
  if (count > MAX_PHNUM || entrySize !== PHDR_SIZE || table + count * PHDR_SIZE > file.size) {
    throw new BootError(
      `${name}: broken ELF file: ${count} program headers of ${entrySize} bytes at ${hex(table)}`,
    );
  }
  const bytes = file.read(table, count * PHDR_SIZE);
  if (bytes.length < count * PHDR_SIZE) throw new BootError(`${name}: ELF program headers cut off`);
  const data = viewOf(bytes);
  return Array.from({ length: count }, (_, i) => readProgramHeader(data, i, file, name));
}

function readProgramHeader(data: DataView, index: number, file: ByteSource, name: string): ProgramHeader {
  const base = index * PHDR_SIZE;
  const word = (offset: number) => Number(data.getBigUint64(base + offset, true));
  const header: ProgramHeader = {
    type: data.getUint32(base, true),
    offset: word(8),
    physicalAddress: word(24),
    fileSize: word(32),
    memorySize: word(40),
    alignment: word(48),
  };
  const used = header.type === PT_LOAD || header.type === PT_NOTE;
  if (used && header.fileSize > 0 && header.offset + header.fileSize > file.size) {
    throw new BootError(
      `${name}: ELF segment ${index} ends at byte ${header.offset + header.fileSize} of a file of ${file.size}`,
    );
  }
  if (header.type === PT_LOAD && header.fileSize > header.memorySize) {
    throw new BootError(`${name}: ELF segment ${index} is larger in the file than in memory`);
  }
  return header;
}

/** The notes of all PT_NOTE segments. A note that runs past the end of its segment ends the list. */
export function readNotes(file: ByteSource, headers: readonly ProgramHeader[], name: string): Note[] {
  const notes: Note[] = [];
  let total = 0;
  for (const header of headers) {
    if (header.type !== PT_NOTE) continue;
    total += header.fileSize;
    if (total > MAX_NOTES) throw new BootError(`${name}: broken ELF file: more than 1 MiB of notes`);
    const bytes = file.read(header.offset, header.fileSize);
    const data = viewOf(bytes);
    // gABI says 8 in 64-bit files; everyone but .note.gnu.property uses 4.
    const align = (offset: number) => (header.alignment === 8 ? (offset + 7) & ~7 : (offset + 3) & ~3);
    let at = 0;
    while (at + 12 <= bytes.length) {
      const nameSize = data.getUint32(at, true);
      const descriptionSize = data.getUint32(at + 4, true);
      if (nameSize > bytes.length || descriptionSize > bytes.length) break;
      const description = align(at + 12 + nameSize);
      if (description + descriptionSize > bytes.length) break;
      notes.push({
        name: nameOf(bytes.subarray(at + 12, at + 12 + nameSize)),
        type: data.getUint32(at + 8, true),
        description: bytes.subarray(description, description + descriptionSize),
      });
      at = align(description + descriptionSize);
    }
  }
  return notes;
}

/** Up to the terminating zero that a note's name carries. */
function nameOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return String.fromCharCode(...bytes.subarray(0, Math.min(end < 0 ? bytes.length : end, 32)));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
