/**
 * The Multiboot header that a kernel carries near its start.
 *
 * Source: Multiboot Specification 0.6.96, 3.1 "OS image format"; field names
 * are the specification's. The video fields (flag 2) are not read.
 */
import { hex } from "../base/hex.ts";
import { BootError, type ByteSource } from "./plan.ts";

/** The header lies within these first bytes, on a multiple of 4. */
export const MULTIBOOT_SEARCH = 8192;
const HEADER_ALIGN = 4;

const MULTIBOOT_HEADER_MAGIC = 0x1bad_b002;
// struct multiboot_header
const MAGIC = 0;
const FLAGS = 4;
const CHECKSUM = 8;
const MAGIC_FIELDS_SIZE = 12;
const HEADER_ADDR = 12;
const LOAD_ADDR = 16;
const LOAD_END_ADDR = 20;
const BSS_END_ADDR = 24;
const ENTRY_ADDR = 28;
const ADDRESS_FIELDS_END = 32;

const AOUT_KLUDGE = 1 << 16;
/** A loader that does not support one of these has to refuse the image. Flags 0 to 2 are supported. */
const UNKNOWN_REQUIREMENTS = 0xfff8;

export interface MultibootHeader {
  /** Of the header in the file. */
  readonly offset: number;
  readonly flags: number;
  /** The "a.out kludge": where to load an image that does not say so in ELF. */
  readonly addresses: MultibootAddresses | undefined;
}

/** Guest-physical; 0 for `loadEnd` means the whole file, for `bssEnd` no bss. */
export interface MultibootAddresses {
  readonly header: number;
  readonly load: number;
  readonly loadEnd: number;
  readonly bssEnd: number;
  readonly entry: number;
}

/** The first header, or undefined. Its addresses are as the file has them, unchecked. */
export function findMultibootHeader(kernel: ByteSource): MultibootHeader | undefined {
  const start = kernel.read(0, MULTIBOOT_SEARCH);
  const data = new DataView(start.buffer, start.byteOffset, start.byteLength);
  for (let offset = 0; offset + MAGIC_FIELDS_SIZE <= data.byteLength; offset += HEADER_ALIGN) {
    if (data.getUint32(offset + MAGIC, true) !== MULTIBOOT_HEADER_MAGIC) continue;
    const flags = data.getUint32(offset + FLAGS, true);
    const checksum = data.getUint32(offset + CHECKSUM, true);
    if ((MULTIBOOT_HEADER_MAGIC + flags + checksum) % 2 ** 32 !== 0) continue;
    const hasAddresses = (flags & AOUT_KLUDGE) !== 0;
    // The whole header has to be within the search: a truncated one is not a header.
    if (hasAddresses && offset + ADDRESS_FIELDS_END > data.byteLength) continue;
    return { offset, flags, addresses: hasAddresses ? readAddresses(data, offset) : undefined };
  }
  return undefined;
}

function readAddresses(data: DataView, offset: number): MultibootAddresses {
  return {
    header: data.getUint32(offset + HEADER_ADDR, true),
    load: data.getUint32(offset + LOAD_ADDR, true),
    loadEnd: data.getUint32(offset + LOAD_END_ADDR, true),
    bssEnd: data.getUint32(offset + BSS_END_ADDR, true),
    entry: data.getUint32(offset + ENTRY_ADDR, true),
  };
}

/** @throws {BootError} if the kernel requires something that this loader does not support. */
export function checkRequirements({ flags }: MultibootHeader, name: string): void {
  const unknown = flags & UNKNOWN_REQUIREMENTS;
  if (unknown !== 0) {
    throw new BootError(
      `${name}: its Multiboot header requires ${hex(unknown)}, flags that vmexit does not support`,
    );
  }
}
