/**
 * The setup header of a bzImage.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (protocol 2.15), "Details of
 * Header Fields"; field names are those of struct setup_header.
 *
 * Every bzImage since protocol 2.00 is accepted; fields that a version does not
 * have get the values that boot.rst states. Refused are a zImage, which loads
 * below 1 MiB, and an image that can only start in its real-mode code, such as
 * ipxe.lkrn: that code needs a BIOS.
 */
import { hex } from "../base/hex.ts";
import { isPowerOfTwo } from "../base/power-of-two.ts";
import { SECTOR } from "../base/units.ts";
import { BootError, type ByteSource } from "./plan.ts";

/** Where struct setup_header begins, in the file and in struct boot_params. */
export const SETUP_HEADER = 0x1f1;
/** Where the next field of struct boot_params begins. */
const SETUP_HEADER_LIMIT = 0x290;

// Offsets in the file.
const SETUP_SECTS = 0x1f1;
const SYSSIZE = 0x1f4;
const JUMP_OFFSET = 0x201;
const HEADER = 0x202;
const VERSION = 0x206;
const LOADFLAGS = 0x211;
const CODE32_START = 0x214;
const INITRD_ADDR_MAX = 0x22c;
const KERNEL_ALIGNMENT = 0x230;
const RELOCATABLE_KERNEL = 0x234;
const XLOADFLAGS = 0x236;
const CMDLINE_SIZE = 0x238;
const PREF_ADDRESS = 0x258;
const INIT_SIZE = 0x260;

const HDRS = 0x5372_6448; // "HdrS"
const LOADED_HIGH = 1 << 0;
const XLF_KERNEL_64 = 1 << 0;

/** What setup_sects means where it is 0. */
const DEFAULT_SETUP_SECTS = 4;
const PARAGRAPH = 16;
/** Kernels before 2.10 do not say how much memory unpacking takes: allow this many times the packed size. */
const UNPACKED_GUESS = 5;
/** Of kernels before 2.03. */
const DEFAULT_INITRD_ADDR_MAX = 0x37ff_ffff;
/** Of kernels before 2.06, and of a later one that says 0. */
const DEFAULT_CMDLINE_SIZE = 255;

export interface SetupHeader {
  /** struct setup_header as the file has it, from SETUP_HEADER on. */
  readonly bytes: Uint8Array;
  /** (major << 8) + minor. */
  readonly version: number;
  /** The protected-mode code: its offset in the file, and its length in bytes. */
  readonly code: { readonly offset: number; readonly length: number };
  readonly code32Start: number;
  /** XLF_KERNEL_64: there is a 64-bit entry 0x200 behind the start of the code. */
  readonly has64BitEntry: boolean;
  readonly relocatable: boolean;
  /** Bytes, a power of two. */
  readonly kernelAlignment: number;
  /** Where the kernel runs unless it is moved. */
  readonly prefAddress: number;
  /** Memory from the runtime start that the kernel uses before it reads the memory map. */
  readonly initSize: number;
  /** Highest address of the initrd's last byte. */
  readonly initrdAddrMax: number;
  /** Characters of command line, without the terminating zero. */
  readonly cmdlineSize: number;
}

/** Why this is not a bzImage; undefined if it is one, complete or broken. */
export function bzImageRefusal(kernel: ByteSource): string | undefined {
  const magic = kernel.read(HEADER, 4);
  if (magic.length === 4 && new DataView(magic.buffer, magic.byteOffset).getUint32(0, true) === HDRS) return;
  return `no "HdrS" at ${hex(HEADER)}`;
}

/** @throws {BootError} if the header contradicts itself or the file. */
export function parseSetupHeader(kernel: ByteSource, name: string): SetupHeader {
  const start = kernel.read(0, SETUP_HEADER_LIMIT);
  if (start.length < SETUP_HEADER_LIMIT) {
    throw new BootError(`${name}: bzImage cut off in its setup header, after ${start.length} bytes`);
  }
  const data = new DataView(start.buffer, start.byteOffset, start.length);

  const version = data.getUint16(VERSION, true);
  const versionText = `${version >> 8}.${String(version & 0xff).padStart(2, "0")}`;
  if (version < 0x0200) {
    throw new BootError(`${name}: boot protocol ${versionText}; vmexit needs 2.00 or later`);
  }
  if ((data.getUint8(LOADFLAGS) & LOADED_HIGH) === 0) {
    throw new BootError(`${name}: a zImage, which loads below 1 MiB; vmexit needs a bzImage`);
  }

  const offset = ((data.getUint8(SETUP_SECTS) || DEFAULT_SETUP_SECTS) + 1) * SECTOR;
  const code = { offset, length: codeLength(kernel, data.getUint32(SYSSIZE, true), offset, version, name) };

  const code32Start = data.getUint32(CODE32_START, true);
  if (code32Start === 0) {
    throw new BootError(
      `${name}: its header gives no 32-bit entry (code32_start is 0): it has to start in real mode, which needs a BIOS`,
    );
  }
  const kernelAlignment = version >= 0x0205 ? data.getUint32(KERNEL_ALIGNMENT, true) : 0;
  // As GRUB: a kernel that gives no usable alignment stays where it is.
  const relocatable = isPowerOfTwo(kernelAlignment) && data.getUint8(RELOCATABLE_KERNEL) !== 0;
  const saysSize = version >= 0x020a;
  const headerEnd = Math.min(HEADER + data.getUint8(JUMP_OFFSET), SETUP_HEADER_LIMIT);
  return {
    bytes: start.slice(SETUP_HEADER, headerEnd),
    version,
    code,
    code32Start,
    has64BitEntry: version >= 0x020c && (data.getUint16(XLOADFLAGS, true) & XLF_KERNEL_64) !== 0,
    relocatable,
    kernelAlignment,
    prefAddress: saysSize ? Number(data.getBigUint64(PREF_ADDRESS, true)) || code32Start : code32Start,
    initSize: Math.max(
      code.length,
      saysSize ? data.getUint32(INIT_SIZE, true) : code.length * UNPACKED_GUESS,
    ),
    initrdAddrMax: version >= 0x0203 ? data.getUint32(INITRD_ADDR_MAX, true) : DEFAULT_INITRD_ADDR_MAX,
    cmdlineSize: (version >= 0x0206 ? data.getUint32(CMDLINE_SIZE, true) : 0) || DEFAULT_CMDLINE_SIZE,
  };
}

/**
 * Bytes of protected-mode code. syssize counts paragraphs and is rounded up, so the file may end
 * inside the last one. Before protocol 2.04 the field has 16 bits only, and some images leave it 0:
 * the code then extends to the end of the file, which is all that GRUB and QEMU go by.
 */
function codeLength(
  kernel: ByteSource,
  sysSize: number,
  offset: number,
  version: number,
  name: string,
): number {
  const rest = kernel.size - offset;
  const said = version >= 0x0204 ? sysSize * PARAGRAPH : 0;
  if (said - rest >= PARAGRAPH) {
    throw new BootError(
      `${name}: bzImage cut off: its header gives ${offset + said} bytes, the file has ${kernel.size}`,
    );
  }
  if (rest <= 0) throw new BootError(`${name}: bzImage without protected-mode code`);
  return said === 0 ? rest : Math.min(said, rest);
}
