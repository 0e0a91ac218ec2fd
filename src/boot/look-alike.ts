/**
 * Guesses what a file is that is not a kernel, for the error message:
 * what people hand over by mistake, known by its magic number.
 *
 * Source: each format's own specification; multiboot2 is Multiboot2 2.0, 3.1.
 */
import type { ByteSource } from "./plan.ts";

interface LookAlike {
  readonly offset: number;
  readonly magic: readonly number[];
  readonly text: string;
}

const ascii = (text: string) => Array.from(text, (character) => character.charCodeAt(0));

const LOOK_ALIKES: readonly LookAlike[] = [
  { offset: 0, magic: [0x1f, 0x8b], text: "a gzip file: unpack it first" },
  { offset: 0, magic: [0xfd, ...ascii("7zXZ"), 0], text: "an xz file: unpack it first" },
  { offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], text: "a zstd file: unpack it first" },
  { offset: 0, magic: [0x02, 0x21, 0x4c, 0x18], text: "an lz4 file: unpack it first" },
  { offset: 0, magic: ascii("070701"), text: "a cpio archive: an initrd?" },
  { offset: 0, magic: [0x51, 0x46, 0x49, 0xfb], text: "a qcow2 disk" },
  { offset: 0x38, magic: ascii("ARMd"), text: "a Linux kernel for arm64" },
  { offset: 0x30, magic: ascii("RISCV"), text: "a Linux kernel for RISC-V" },
  { offset: 0x8001, magic: ascii("CD001"), text: "an ISO 9660 image: the kernel is a file in it" },
  { offset: 0, magic: ascii("MZ"), text: "an EFI or DOS program" },
  { offset: 0, magic: ascii("#!"), text: "a script" },
  // Last: other formats can have this mark too.
  { offset: 510, magic: [0x55, 0xaa], text: "a disk or a boot sector" },
];

const MULTIBOOT2_MAGIC = 0xe852_50d6;
const MULTIBOOT2_SEARCH = 32768;
const MULTIBOOT2_ALIGN = 8;

/** In a few words; undefined if it is not recognised. */
export function lookAlike(file: ByteSource): string | undefined {
  if (file.size === 0) return "an empty file";
  const found = LOOK_ALIKES.find(({ offset, magic }) => {
    const bytes = file.read(offset, magic.length);
    return bytes.length === magic.length && magic.every((byte, i) => bytes[i] === byte);
  });
  return hasMultiboot2Header(file) ? "a Multiboot 2 kernel; vmexit supports Multiboot 1" : found?.text;
}

function hasMultiboot2Header(file: ByteSource): boolean {
  const start = file.read(0, MULTIBOOT2_SEARCH);
  const data = new DataView(start.buffer, start.byteOffset, start.byteLength);
  for (let at = 0; at + 16 <= data.byteLength; at += MULTIBOOT2_ALIGN) {
    if (data.getUint32(at, true) !== MULTIBOOT2_MAGIC) continue;
    // Magic, architecture, length and checksum make 0 together.
    const sum = [0, 4, 8, 12].reduce((sum, field) => sum + data.getUint32(at + field, true), 0);
    if (sum % 2 ** 32 === 0) return true;
  }
  return false;
}
