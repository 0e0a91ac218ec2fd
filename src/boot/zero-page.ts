/**
 * struct boot_params, the "zero page": the parameters that Linux gets from a boot
 * loader.
 *
 * Source: Linux Documentation/arch/x86/zero-page.rst and boot.rst;
 * arch/x86/include/uapi/asm/bootparam.h for offsets and names.
 *
 * Left zero: screen_info (there is no display; a screen of no lines prevents the
 * kernel from writing to one), EDD, EFI, setup_data.
 */
import { SETUP_HEADER, type SetupHeader } from "./bzimage.ts";
import { type E820Entry, e820Entries } from "./e820.ts";
import { ZERO_PAGE } from "./low-memory.ts";
import type { MemoryRange, Placement } from "./plan.ts";
import type { Range } from "./ram.ts";

// struct boot_params
const ACPI_RSDP_ADDR = 0x070; // u64
const CL_MAGIC = 0x020; // u16, protocols before 2.02: "there is a command line at CL_OFFSET"
const CL_OFFSET = 0x022; // u16, from the start of this page
const EXT_RAMDISK_IMAGE = 0x0c0; // u32, the upper half
const EXT_RAMDISK_SIZE = 0x0c4;
const EXT_CMD_LINE_PTR = 0x0c8;
const E820_ENTRIES = 0x1e8; // u8
const E820_TABLE = 0x2d0;
const E820_ENTRY_SIZE = 20; // packed: u64 addr, u64 size, u32 type

// struct setup_header within it
const VID_MODE = 0x1fa;
const TYPE_OF_LOADER = 0x210;
const CODE32_START = 0x214;
const RAMDISK_IMAGE = 0x218;
const RAMDISK_SIZE = 0x21c;
const CMD_LINE_PTR = 0x228;

const CL_MAGIC_VALUE = 0xa33f;
const VID_MODE_NORMAL = 0xffff;
const LOADER_UNDEFINED = 0xff; // a boot loader without an assigned number

export interface BootParams {
  readonly header: SetupHeader;
  /** Of the protected-mode code. */
  readonly loadAddress: number;
  readonly cmdline: number;
  readonly initrd: Range | undefined;
  readonly rsdp: number;
  readonly memory: readonly MemoryRange[];
}

export function placeZeroPage(params: BootParams): Placement {
  const page = new Uint8Array(ZERO_PAGE.size);
  const data = new DataView(page.buffer);
  const setSplit = (low: number, high: number, value: number) => {
    data.setUint32(low, value % 2 ** 32, true);
    data.setUint32(high, Math.floor(value / 2 ** 32), true);
  };

  page.set(params.header.bytes, SETUP_HEADER);
  data.setUint16(VID_MODE, VID_MODE_NORMAL, true);
  data.setUint8(TYPE_OF_LOADER, LOADER_UNDEFINED);
  data.setUint32(CODE32_START, params.loadAddress, true);
  setSplit(CMD_LINE_PTR, EXT_CMD_LINE_PTR, params.cmdline);
  if (params.header.version < 0x0202) {
    data.setUint16(CL_MAGIC, CL_MAGIC_VALUE, true);
    data.setUint16(CL_OFFSET, params.cmdline - ZERO_PAGE.address, true);
  }
  setSplit(RAMDISK_IMAGE, EXT_RAMDISK_IMAGE, params.initrd?.address ?? 0);
  setSplit(RAMDISK_SIZE, EXT_RAMDISK_SIZE, params.initrd?.size ?? 0);
  data.setBigUint64(ACPI_RSDP_ADDR, BigInt(params.rsdp), true);

  const entries = e820Entries(params.memory);
  data.setUint8(E820_ENTRIES, entries.length);
  entries.forEach((entry, i) => {
    putEntry(data, E820_TABLE + i * E820_ENTRY_SIZE, entry);
  });
  return { what: ZERO_PAGE.what, address: ZERO_PAGE.address, size: page.length, data: page };
}

function putEntry(data: DataView, offset: number, { address, size, type }: E820Entry): void {
  data.setBigUint64(offset, BigInt(address), true);
  data.setBigUint64(offset + 8, BigInt(size), true);
  data.setUint32(offset + 16, type, true);
}
