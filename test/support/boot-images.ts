/**
 * Tiny boot images with valid headers and without a kernel, and the request that
 * boots one.
 */
import { pcMemoryMap } from "../../src/boot/e820.ts";
import type { ByteSource, Placement } from "../../src/boot/plan.ts";
import type { BootRequest } from "../../src/boot/request.ts";

const MIB = 2 ** 20;
const HIGH_RAM = 2 ** 32;
const HOLE = 3 * 2 ** 30;

export function source(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

/** The memory map of a guest with `mib` MiB. */
export function memoryOf(mib: number) {
  const size = mib * MIB;
  if (size <= HOLE) return pcMemoryMap([{ address: 0, size }]);
  return pcMemoryMap([
    { address: 0, size: HOLE },
    { address: HIGH_RAM, size: size - HOLE },
  ]);
}

export function bootRequest(kernel: Uint8Array, more: Partial<BootRequest> = {}): BootRequest {
  return {
    kernel: source(kernel),
    kernelName: "vmlinuz",
    cmdline: "console=ttyS0",
    memory: memoryOf(64),
    rsdp: 0xe0000,
    ...more,
  };
}

export interface BzImageFields {
  readonly version?: number;
  readonly setupSects?: number;
  readonly codeLength?: number;
  readonly sysSize?: number;
  readonly code32Start?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly initrdAddrMax?: number;
  readonly kernelAlignment?: number;
  readonly relocatable?: number;
  readonly cmdlineSize?: number;
  readonly prefAddress?: bigint;
  readonly initSize?: number;
}

/** A small bzImage with the header of a Linux 6.1, except for `fields`. */
export function bzImage(fields: BzImageFields = {}): Uint8Array {
  const setupSects = fields.setupSects ?? 4;
  const codeLength = fields.codeLength ?? 0x2000;
  const file = new Uint8Array(((setupSects || 4) + 1) * 512 + codeLength);
  const data = new DataView(file.buffer);
  data.setUint8(0x1f1, setupSects);
  data.setUint32(0x1f4, fields.sysSize ?? Math.ceil(codeLength / 16), true);
  data.setUint16(0x1fe, 0xaa55, true);
  data.setUint8(0x200, 0xeb); // jmp over the header
  data.setUint8(0x201, 0x6a);
  data.setUint32(0x202, 0x53726448, true); // HdrS
  data.setUint16(0x206, fields.version ?? 0x020f, true);
  data.setUint8(0x211, fields.loadflags ?? 0x01);
  data.setUint32(0x214, fields.code32Start ?? 0x100000, true);
  data.setUint32(0x22c, fields.initrdAddrMax ?? 0x7fffffff, true);
  data.setUint32(0x230, fields.kernelAlignment ?? 0x200000, true);
  data.setUint8(0x234, fields.relocatable ?? 1);
  data.setUint16(0x236, fields.xloadflags ?? 0x7f, true);
  data.setUint32(0x238, fields.cmdlineSize ?? 2047, true);
  data.setBigUint64(0x258, fields.prefAddress ?? 0x1000000n, true);
  data.setUint32(0x260, fields.initSize ?? 0x1000000, true);
  return file;
}

export interface ElfSegment {
  readonly type: number;
  readonly physicalAddress?: number;
  readonly bytes: Uint8Array;
  readonly memorySize?: number;
  readonly alignment?: number;
}

/** An x86-64 ELF file with these segments, which follow the program headers in order. */
export function elf(segments: readonly ElfSegment[], entry = 0): Uint8Array {
  const headersEnd = 64 + segments.length * 56;
  const length = segments.reduce((end, segment) => end + segment.bytes.length, headersEnd);
  const file = new Uint8Array(length);
  const data = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  data.setUint16(16, 2, true); // ET_EXEC
  data.setUint16(18, 62, true); // EM_X86_64
  data.setUint32(20, 1, true);
  data.setBigUint64(24, BigInt(entry), true);
  data.setBigUint64(32, 64n, true); // e_phoff
  data.setUint16(52, 64, true);
  data.setUint16(54, 56, true); // e_phentsize
  data.setUint16(56, segments.length, true); // e_phnum
  let end = headersEnd;
  segments.forEach((segment, i) => {
    const at = 64 + i * 56;
    data.setUint32(at, segment.type, true);
    data.setBigUint64(at + 8, BigInt(end), true); // p_offset
    data.setBigUint64(at + 24, BigInt(segment.physicalAddress ?? 0), true);
    data.setBigUint64(at + 32, BigInt(segment.bytes.length), true);
    data.setBigUint64(at + 40, BigInt(segment.memorySize ?? segment.bytes.length), true);
    data.setBigUint64(at + 48, BigInt(segment.alignment ?? 4), true);
    file.set(segment.bytes, end);
    end += segment.bytes.length;
  });
  return file;
}

/** One ELF note, its parts padded to 4 bytes. */
export function note(name: string, type: number, description: Uint8Array): Uint8Array {
  const pad = (size: number) => Math.ceil(size / 4) * 4;
  const bytes = new Uint8Array(12 + pad(name.length + 1) + pad(description.length));
  const data = new DataView(bytes.buffer);
  data.setUint32(0, name.length + 1, true);
  data.setUint32(4, description.length, true);
  data.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(name), 12);
  bytes.set(description, 12 + pad(name.length + 1));
  return bytes;
}

/** A small ELF kernel like vmlinux: text at 16 MiB, then data with bss, and a PVH entry in a note. */
export function vmlinux(entry = 0x1000040): Uint8Array {
  const description = new Uint8Array(8);
  new DataView(description.buffer).setUint32(0, entry, true);
  const notes = new Uint8Array([...note("Linux", 0, new Uint8Array(5)), ...note("Xen", 18, description)]);
  return elf([
    { type: 1, physicalAddress: 0x1000000, bytes: new Uint8Array(0x1000).fill(0x90) },
    { type: 1, physicalAddress: 0x1200000, bytes: new Uint8Array(0x100).fill(1), memorySize: 0x200000 },
    { type: 4, bytes: notes },
  ]);
}

/** The bytes that a plan contains itself for `what`. */
export function madeBytes(placements: readonly Placement[], what: string): DataView {
  const data = placements.find((placement) => placement.what === what)?.data;
  if (!(data instanceof Uint8Array)) throw new Error(`the plan has no bytes of its own for ${what}`);
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}
