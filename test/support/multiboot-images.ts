/** Tiny Multiboot 1 kernels with valid headers and without code. */

export const MULTIBOOT_MAGIC = 0x1badb002;
export const AOUT_KLUDGE = 0x10000;

/** These words as a Multiboot header: magic, flags, a valid checksum, and the fields after it. */
export function multibootHeader(flags: number, ...more: readonly number[]): Uint8Array {
  const checksum = -(MULTIBOOT_MAGIC + flags) >>> 0;
  return new Uint8Array(Uint32Array.of(MULTIBOOT_MAGIC, flags, checksum, ...more).buffer);
}

export interface AddressFields {
  readonly header?: number;
  readonly load?: number;
  readonly loadEnd?: number;
  readonly bssEnd?: number;
  readonly entry?: number;
}

/** A file of `size` bytes with a header at `offset` that gives load addresses; by default all of it is loaded at 1 MiB. */
export function addressedKernel(
  fields: AddressFields = {},
  { offset = 0x20, size = 0x1000 } = {},
): Uint8Array {
  const load = fields.load ?? 0x100000;
  const file = new Uint8Array(size).fill(0x90);
  const words = [
    fields.header ?? load + offset,
    load,
    fields.loadEnd ?? 0,
    fields.bssEnd ?? 0,
    fields.entry ?? load + 0x40,
  ];
  file.set(multibootHeader(AOUT_KLUDGE, ...words), offset);
  return file;
}

export interface Elf32Segment {
  readonly type?: number;
  readonly virtualAddress?: number;
  readonly physicalAddress: number;
  readonly bytes: Uint8Array;
  readonly memorySize?: number;
}

/** An i386 ELF file with these segments, which follow the program headers in order. */
export function elf32(segments: readonly Elf32Segment[], entry: number): Uint8Array {
  const headersEnd = 52 + segments.length * 32;
  const file = new Uint8Array(segments.reduce((end, { bytes }) => end + bytes.length, headersEnd));
  const data = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  data.setUint16(16, 2, true); // ET_EXEC
  data.setUint16(18, 3, true); // EM_386
  data.setUint32(20, 1, true);
  data.setUint32(24, entry, true);
  data.setUint32(28, 52, true); // e_phoff
  data.setUint16(40, 52, true);
  data.setUint16(42, 32, true); // e_phentsize
  data.setUint16(44, segments.length, true); // e_phnum
  let end = headersEnd;
  segments.forEach(({ type, virtualAddress, physicalAddress, bytes, memorySize }, i) => {
    const words = [type ?? 1, end, virtualAddress ?? physicalAddress, physicalAddress];
    words.push(bytes.length, memorySize ?? bytes.length, 7, 4);
    words.forEach((word, n) => {
      data.setUint32(52 + i * 32 + n * 4, word, true);
    });
    file.set(bytes, end);
    end += bytes.length;
  });
  return file;
}

/** An i386 ELF kernel: text at 1 MiB, which starts with the header, then data with bss. */
export function elfKernel({ flags = 3, entry = 0x100010 } = {}): Uint8Array {
  const text = new Uint8Array(0x800).fill(0x90);
  text.set(multibootHeader(flags));
  const data = { physicalAddress: 0x102000, bytes: new Uint8Array(0x100).fill(1), memorySize: 0x1234 };
  return elf32([{ physicalAddress: 0x100000, bytes: text }, data], entry);
}
