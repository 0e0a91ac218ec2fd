/**
 * Starts a Multiboot 1 kernel, such as hobby systems, test kernels and Xen.
 *
 * Source: Multiboot Specification 0.6.96; where it leaves a choice, this does
 * what QEMU's -kernel does (hw/i386/multiboot.c). The CPU starts in 32-bit
 * protected mode with paging and interrupts off, EAX holding the loader's magic
 * number and EBX the address of the information structure. KVM has no A20 gate.
 *
 * One module, the initrd, on a page, which every kernel gets and flag 0 asks
 * for. A kernel that asks for a video mode (flag 2) is started without one, as in
 * QEMU: the information structure says so.
 *
 * A 64-bit ELF file is started as GRUB does, by its e_entry, which has to be
 * 32-bit code; QEMU refuses such a file. If it has a PVH entry too, that counts.
 */
import { hex } from "../base/hex.ts";
import { GIB, PAGE } from "../base/units.ts";
import { elfRefusal, I386, loadedSegments, PT_LOAD, readElf, X86_64 } from "./elf.ts";
import { initrdPages } from "./initrd.ts";
import { BOOT_DATA, MULTIBOOT_INFO, ONE_MIB } from "./low-memory.ts";
import {
  checkRequirements,
  findMultibootHeader,
  MULTIBOOT_SEARCH,
  type MultibootAddresses,
  type MultibootHeader,
} from "./multiboot-header.ts";
import { placeMultibootInfo } from "./multiboot-info.ts";
import { BootError, type BootPlan, type ByteSource, type Placement } from "./plan.ts";
import { findPvhEntry } from "./pvh-entry.ts";
import { checkPlacements, notEnoughRam, Ram } from "./ram.ts";
import type { BootRequest } from "./request.ts";
import { checkSegments, type LoadedImage } from "./segments.ts";

const MULTIBOOT_BOOTLOADER_MAGIC = 0x2bad_b002;
const FOUR_GIB = 4 * GIB;

/**
 * Why this is not a Multiboot kernel; undefined if it is one, whole or broken.
 * @throws {BootError} for a broken 64-bit ELF file with a Multiboot header.
 */
export function multibootRefusal(kernel: ByteSource, name: string): string | undefined {
  const header = findMultibootHeader(kernel);
  if (header === undefined) return `no header in the first ${MULTIBOOT_SEARCH} bytes`;
  if (header.addresses === undefined && elfRefusal(kernel, X86_64) === undefined) {
    const { headers } = readElf(kernel, X86_64, name);
    if (findPvhEntry(kernel, headers, name) !== undefined) return "a 64-bit ELF file with a PVH entry";
  }
  return undefined;
}

export function planMultiboot(request: BootRequest): BootPlan {
  const { kernel, kernelName, initrd } = request;
  const header = findMultibootHeader(kernel);
  if (header === undefined) throw new BootError(`${kernelName}: no Multiboot header`);
  checkRequirements(header, kernelName);
  const image =
    header.addresses === undefined ? elfImage(request) : addressedImage(header, header.addresses, request);
  const ram = new Ram(request.memory);
  if (!ram.holds(BOOT_DATA)) {
    throw new BootError(`${kernelName}: a Multiboot kernel needs RAM below 640 KiB to be started in`);
  }
  checkSegments(image, ram, request);
  const module = initrd && placeModule(initrd, ram, image.segments);
  const placements = [...image.segments, ...placeMultibootInfo(request, ram, module)];
  if (module !== undefined) placements.push(module);
  checkPlacements(placements, ram, kernelName);
  return {
    protocol: "Multiboot",
    placements,
    entry: {
      mode: "protected32",
      rip: image.entry,
      registers: { rax: MULTIBOOT_BOOTLOADER_MAGIC, rbx: MULTIBOOT_INFO.address },
    },
  };
}

function elfImage({ kernel, kernelName }: BootRequest): LoadedImage {
  const kind = [I386, X86_64].find((kind) => elfRefusal(kernel, kind) === undefined);
  if (kind === undefined) {
    throw new BootError(
      `${kernelName}: its Multiboot header gives no load addresses (flag 16), so it must be an ELF file for x86: ${elfRefusal(kernel, I386, X86_64)}`,
    );
  }
  const { entry, headers } = readElf(kernel, kind, kernelName);
  // A kernel linked for high addresses may give its entry as one of them.
  const home = headers.find(
    ({ type, virtualAddress, fileSize }) =>
      type === PT_LOAD && entry >= virtualAddress && entry < virtualAddress + fileSize,
  );
  return {
    segments: loadedSegments(headers),
    entry: home === undefined ? entry : entry - home.virtualAddress + home.physicalAddress,
    entryName: "the entry",
  };
}

/** The "a.out kludge" of 3.1.3: one range of the file, then bss. */
function addressedImage(
  header: MultibootHeader,
  addresses: MultibootAddresses,
  { kernel, kernelName }: BootRequest,
): LoadedImage {
  const { load, entry } = addresses;
  const broken = (what: string) => new BootError(`${kernelName}: broken Multiboot header: ${what}`);
  if (load > addresses.header) {
    throw broken(`load_addr ${hex(load)} is above header_addr ${hex(addresses.header)}`);
  }
  const offset = header.offset - (addresses.header - load);
  if (offset < 0) {
    throw broken(`load_addr ${hex(load)} is ${-offset} bytes before the start of the file`);
  }
  const loadEnd = addresses.loadEnd || load + kernel.size - offset;
  if (loadEnd <= load) throw broken(`load_end_addr ${hex(loadEnd)} is not above load_addr ${hex(load)}`);
  const length = loadEnd - load;
  if (offset + length > kernel.size) {
    throw new BootError(
      `${kernelName}: cut off: its Multiboot header gives ${offset + length} bytes, the file has ${kernel.size}`,
    );
  }
  const end = addresses.bssEnd || loadEnd;
  if (end < loadEnd) throw broken(`bss_end_addr ${hex(end)} is below load_end_addr ${hex(loadEnd)}`);
  const image: Placement = {
    what: "kernel",
    address: load,
    size: end - load,
    data: { file: "kernel", offset, length },
  };
  return { segments: [image], entry, entryName: "entry_addr" };
}

/** Behind the kernel, where such kernels expect it and can reach it; if there is no room, anywhere else. */
function placeModule(
  initrd: NonNullable<BootRequest["initrd"]>,
  ram: Ram,
  segments: readonly Placement[],
): Placement {
  const { size, name } = initrd;
  if (size === 0) throw new BootError(`${name}: the initrd is empty`);
  const kernelEnd = Math.max(ONE_MIB, ...segments.map((segment) => segment.address + segment.size));
  const behind = ram.lowest(size, PAGE, kernelEnd);
  const address = behind < 0 ? ram.highest(size, ONE_MIB, FOUR_GIB, segments) : behind;
  if (address < 0) {
    const needed = Math.ceil(kernelEnd / PAGE) * PAGE + initrdPages(initrd);
    throw new BootError(
      `${name}: no room beside the kernel for a module of ${size} bytes: ${notEnoughRam(ram, needed)}`,
    );
  }
  return { what: "initrd", address, size, data: { file: "initrd", offset: 0, length: size } };
}
