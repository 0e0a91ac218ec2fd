/**
 * Starts an ELF kernel, such as an uncompressed vmlinux, by its PVH entry. The
 * file may be a 64-bit or a 32-bit one: Xen's and GRUB's are 32-bit.
 *
 * Source: Xen docs/misc/pvh.pandoc, "x86/HVM direct boot ABI"; structures from
 * Xen public/arch-x86/hvm/start_info.h, version 1. The guest's CPU starts in
 * 32-bit protected mode with paging off and EBX pointing at hvm_start_info.
 *
 * One module, the initrd, without a command line of its own.
 */
import { GIB } from "../base/units.ts";
import { placeCmdline } from "./cmdline.ts";
import { e820Entries } from "./e820.ts";
import { elfRefusal, I386, loadedSegments, readElf, X86_64 } from "./elf.ts";
import { placeInitrd } from "./initrd.ts";
import { BOOT_DATA, START_INFO } from "./low-memory.ts";
import { BootError, type BootPlan, type ByteSource, type Placement } from "./plan.ts";
import { findPvhEntry } from "./pvh-entry.ts";
import { checkPlacements, Ram, type Range } from "./ram.ts";
import type { BootRequest } from "./request.ts";
import { checkSegments } from "./segments.ts";

/** The ABI has no limit. Linux on x86 reads 2048 bytes, including the terminating zero, in every version with this entry. */
const CMDLINE_LIMIT = 2047;

const FOUR_GIB = 4 * GIB;

const XEN_HVM_START_MAGIC_VALUE = 0x336e_c578;
// struct hvm_start_info
const MAGIC = 0;
const VERSION = 4;
const NR_MODULES = 12;
const MODLIST_PADDR = 16;
const CMDLINE_PADDR = 24;
const RSDP_PADDR = 32;
const MEMMAP_PADDR = 40;
const MEMMAP_ENTRIES = 48;
const START_INFO_SIZE = 56;
// struct hvm_modlist_entry: u64 paddr, size, cmdline_paddr, reserved
const MODLIST_ENTRY_SIZE = 32;
// struct hvm_memmap_table_entry: u64 addr, size; u32 type, reserved
const MEMMAP_ENTRY_SIZE = 24;

const KINDS = [X86_64, I386];

/** Why this cannot have a PVH entry; undefined if it may. */
export function pvhRefusal(kernel: ByteSource): string | undefined {
  return elfRefusal(kernel, ...KINDS);
}

export function planPvh(request: BootRequest): BootPlan {
  const { kernel, kernelName } = request;
  const kind = KINDS.find((kind) => elfRefusal(kernel, kind) === undefined) ?? X86_64;
  const { headers } = readElf(kernel, kind, kernelName);
  const entry = findPvhEntry(kernel, headers, kernelName);
  if (entry === undefined) {
    throw new BootError(
      `${kernelName}: an ELF file without a PVH entry (note Xen 18) and without a Multiboot header; Linux has the entry if built with CONFIG_PVH=y, else use the bzImage`,
    );
  }
  const ram = new Ram(request.memory);
  if (!ram.holds(BOOT_DATA)) {
    throw new BootError(`${kernelName}: a PVH kernel needs RAM below 640 KiB to be started in`);
  }

  const segments = loadedSegments(headers);
  checkSegments({ segments, entry, entryName: "the PVH entry" }, ram, request);

  const cmdline = placeCmdline(request.cmdline, CMDLINE_LIMIT, kernelName);
  const placements = [...segments, cmdline];
  const initrd = request.initrd && placeInitrd(request.initrd, ram, FOUR_GIB - 1, segments);
  if (initrd !== undefined) placements.push(initrd);
  placements.push(placeStartInfo(request, cmdline.address, initrd));
  checkPlacements(placements, ram, kernelName);
  return {
    protocol: "PVH",
    placements,
    entry: { mode: "protected32", rip: entry, registers: { rbx: START_INFO.address } },
  };
}

/** hvm_start_info, behind it the module list, behind that the memory map. */
function placeStartInfo(request: BootRequest, cmdline: number, initrd: Range | undefined): Placement {
  const entries = e820Entries(request.memory);
  const modlist = START_INFO_SIZE;
  const memmap = modlist + MODLIST_ENTRY_SIZE;
  const bytes = new Uint8Array(memmap + entries.length * MEMMAP_ENTRY_SIZE);
  const data = new DataView(bytes.buffer);
  const put64 = (offset: number, value: number) => data.setBigUint64(offset, BigInt(value), true);

  data.setUint32(MAGIC, XEN_HVM_START_MAGIC_VALUE, true);
  data.setUint32(VERSION, 1, true);
  put64(CMDLINE_PADDR, cmdline);
  put64(RSDP_PADDR, request.rsdp);
  if (initrd !== undefined) {
    data.setUint32(NR_MODULES, 1, true);
    put64(MODLIST_PADDR, START_INFO.address + modlist);
    put64(modlist, initrd.address);
    put64(modlist + 8, initrd.size);
  }
  put64(MEMMAP_PADDR, START_INFO.address + memmap);
  data.setUint32(MEMMAP_ENTRIES, entries.length, true);
  entries.forEach(({ address, size, type }, i) => {
    const entry = memmap + i * MEMMAP_ENTRY_SIZE;
    put64(entry, address);
    put64(entry + 8, size);
    data.setUint32(entry + 16, type, true);
  });
  return { what: START_INFO.what, address: START_INFO.address, size: bytes.length, data: bytes };
}
