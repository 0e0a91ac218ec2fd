/**
 * What each page below 1 MiB contains when a guest starts.
 *
 * The first page is the real-mode interrupt table, all zero, and the BIOS data
 * area. From 0x20000 to the extended BIOS data area nothing is placed, so that a
 * kernel finds room there for the real-mode code that starts its other CPUs.
 *
 * A flat binary is entered in real mode. It finds the BIOS data areas, unless it
 * is loaded over them, and nothing else of this.
 */

export interface LowRange {
  readonly what: string;
  readonly address: number;
  readonly size: number;
}

/** Real-mode segment 0x40. */
export const BIOS_DATA: LowRange = { what: "BIOS data area", address: 0x400, size: 0x100 };
/** The last KiB below 640 KiB, where SeaBIOS has it. */
export const EBDA: LowRange = { what: "extended BIOS data area", address: 0x9_fc00, size: 0x400 };
/** Six pages: one PML4, one page-directory-pointer table, four page directories. */
export const PAGE_TABLES: LowRange = { what: "page tables", address: 0x2000, size: 0x6000 };
export const GDT: LowRange = { what: "GDT", address: 0x1000, size: 0x1000 };
/** struct boot_params of the Linux boot protocol. */
export const ZERO_PAGE: LowRange = { what: "zero page", address: 0x8000, size: 0x1000 };
/** struct hvm_start_info of PVH, with its module list and memory map behind it. */
export const START_INFO: LowRange = { what: "PVH start info", address: 0x9000, size: 0x1000 };
/** The same page as START_INFO: a guest gets one of the two. */
export const MULTIBOOT_INFO: LowRange = { ...START_INFO, what: "Multiboot information" };
/** For Multiboot, all strings. */
export const CMDLINE: LowRange = { what: "command line", address: 0x1_0000, size: 0x1_0000 };
/** Where firmware stores the RSDP; kernels without its address search here. Reserved in the E820 map. */
export const ACPI_AREA: LowRange = { what: "ACPI tables", address: 0xe_0000, size: 0x1_f000 };

/**
 * The last page before 1 MiB, of which no table takes anything: the GUID is where QEMU has it in such a page.
 * Reserved in the E820 map.
 */
export const GENERATION_ID: LowRange = { what: "VM generation ID", address: 0xf_f028, size: 16 };

/** The part of it that is RAM to the guest and that a kernel image must not overlap. */
export const BOOT_DATA: LowRange = {
  what: "boot data",
  address: GDT.address,
  size: CMDLINE.address + CMDLINE.size - GDT.address,
};

/** Video memory and ROMs of a PC: the guest's memory map reserves them. */
export const PC_HOLE: LowRange = { what: "PC hole", address: 0xa_0000, size: 0x6_0000 };
export const ONE_MIB = 0x10_0000;
