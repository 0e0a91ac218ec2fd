/**
 * The registers of the boot CPU for each way into a guest, as plain data, and
 * the tables in memory to which they point.
 *
 * Source: Intel SDM volume 3, 2.5 (control registers), 3.4.5 (descriptors) and
 * 4.5 (4-level paging); for what each protocol asks for: Linux boot.rst, "32-bit"
 * and "64-bit Boot Protocol", and the PVH boot ABI. Selectors 0x10 and 0x18 are
 * __BOOT_CS and __BOOT_DS of Linux; PVH does not define them but requires a busy
 * 32-bit TSS at 0 with limit 0x67. Multiboot (0.6.96, 3.2) requires less than PVH.
 */
import { GDT, PAGE_TABLES } from "./low-memory.ts";
import type { Entry, Placement } from "./plan.ts";

/** A segment register with its hidden part, in the shape of struct kvm_segment. One-bit fields are 0 or 1. */
export interface Segment {
  readonly base: bigint;
  /** In bytes, whatever `g` is. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly s: number;
  readonly l: number;
  readonly db: number;
  readonly g: number;
  readonly dpl: number;
  readonly present: number;
}

export interface DescriptorTable {
  readonly base: bigint;
  readonly limit: number;
}

export interface GeneralRegisters {
  readonly rax: bigint;
  readonly rbx: bigint;
  readonly rcx: bigint;
  readonly rdx: bigint;
  readonly rsi: bigint;
  readonly rdi: bigint;
  readonly rsp: bigint;
  readonly rbp: bigint;
  readonly r8: bigint;
  readonly r9: bigint;
  readonly r10: bigint;
  readonly r11: bigint;
  readonly r12: bigint;
  readonly r13: bigint;
  readonly r14: bigint;
  readonly r15: bigint;
}

export interface EntryState {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  readonly cs: Segment;
  readonly ds: Segment;
  readonly es: Segment;
  readonly fs: Segment;
  readonly gs: Segment;
  readonly ss: Segment;
  readonly tr: Segment;
  readonly ldt: Segment;
  readonly gdt: DescriptorTable;
  readonly idt: DescriptorTable;
  readonly rip: bigint;
  readonly rflags: bigint;
  readonly registers: GeneralRegisters;
  /** What must be in memory besides the boot plan's own placements. */
  readonly placements: readonly Placement[];
}

const CR0_PE = 1n << 0n;
const CR0_ET = 1n << 4n; // always reads 1
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
const RFLAGS_FIXED = 0x2n; // bit 1 always reads 1; IF, TF and VM clear

// Segment types.
const CODE_READ_ACCESSED = 0xb;
const DATA_WRITE_ACCESSED = 0x3;
const LDT_TYPE = 0x2;
const TSS_BUSY = 0xb; // of 32 bits; in long mode the number means a 64-bit TSS
const TSS_BUSY_16 = 0x3;

const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const BOOT_TSS = 0x20; // two slots: a descriptor of 16 bytes in long mode
const GDT_ENTRIES = 6;

const TSS_LIMIT = 0x67;
const REAL_LIMIT = 0xffff;
const FLAT_LIMIT = 0xffff_ffff;

const PTE_PRESENT = 1n << 0n;
const PTE_WRITE = 1n << 1n;
const PTE_LARGE = 1n << 7n;
const TABLE_SIZE = 4096;
const TABLE_ENTRIES = 512;
const LARGE_PAGE = 2 ** 21;
const DIRECTORIES = 4; // of 1 GiB each

export function entryState(entry: Entry): EntryState {
  switch (entry.mode) {
    case "real16":
      return realMode(entry);
    case "protected32":
      return protectedMode(entry);
    case "long64":
      return longMode(entry);
  }
}

function realMode(entry: Entry): EntryState {
  const selector = entry.rip >> 4;
  const real = { base: BigInt(selector) << 4n, limit: REAL_LIMIT, selector, ...NO_FLAGS, s: 1, present: 1 };
  return {
    ...withSegments({ ...real, type: CODE_READ_ACCESSED }, { ...real, type: DATA_WRITE_ACCESSED }),
    tr: { ...UNUSED, limit: REAL_LIMIT, type: TSS_BUSY_16, present: 1 },
    cr0: CR0_ET,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
    gdt: { base: 0n, limit: REAL_LIMIT },
    idt: { base: 0n, limit: REAL_LIMIT },
    rip: BigInt(entry.rip & 0xf),
    rflags: RFLAGS_FIXED,
    registers: generalRegisters(entry.registers),
    placements: [],
  };
}

function protectedMode(entry: Entry): EntryState {
  return flatMode(entry, { ...FLAT_CODE, db: 1 }, { cr0: CR0_PE | CR0_ET, cr3: 0n, cr4: 0n, efer: 0n }, []);
}

function longMode(entry: Entry): EntryState {
  const control = {
    cr0: CR0_PE | CR0_ET | CR0_PG,
    cr3: BigInt(PAGE_TABLES.address),
    cr4: CR4_PAE,
    efer: EFER_LME | EFER_LMA,
  };
  return flatMode(entry, { ...FLAT_CODE, l: 1 }, control, [identityMap()]);
}

function flatMode(
  entry: Entry,
  cs: Segment,
  control: Pick<EntryState, "cr0" | "cr3" | "cr4" | "efer">,
  placements: readonly Placement[],
): EntryState {
  const tr = { ...UNUSED, limit: TSS_LIMIT, selector: BOOT_TSS, type: TSS_BUSY, present: 1 };
  const descriptors = globalDescriptorTable([cs, FLAT_DATA, tr]);
  return {
    ...withSegments(cs, FLAT_DATA),
    tr,
    ...control,
    gdt: { base: BigInt(GDT.address), limit: GDT_ENTRIES * 8 - 1 },
    idt: { base: 0n, limit: 0 },
    rip: BigInt(entry.rip),
    rflags: RFLAGS_FIXED,
    registers: generalRegisters(entry.registers),
    placements: [descriptors, ...placements],
  };
}

const NO_FLAGS = { s: 0, l: 0, db: 0, g: 0, dpl: 0 };
const UNUSED: Segment = { base: 0n, limit: 0, selector: 0, type: 0, ...NO_FLAGS, present: 0 };
const FLAT = { base: 0n, limit: FLAT_LIMIT, ...NO_FLAGS, s: 1, g: 1, present: 1 };
const FLAT_CODE: Segment = { ...FLAT, selector: BOOT_CS, type: CODE_READ_ACCESSED };
const FLAT_DATA: Segment = { ...FLAT, selector: BOOT_DS, type: DATA_WRITE_ACCESSED, db: 1 };

function withSegments(cs: Segment, data: Segment) {
  return {
    cs,
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    ldt: { ...UNUSED, type: LDT_TYPE, limit: REAL_LIMIT },
  };
}

function generalRegisters(given: Entry["registers"]): GeneralRegisters {
  const zero = { rcx: 0n, rdx: 0n, rdi: 0n, rbp: 0n };
  const upper = { r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n };
  return {
    ...zero,
    ...upper,
    rax: BigInt(given.rax ?? 0),
    rbx: BigInt(given.rbx ?? 0),
    rsi: BigInt(given.rsi ?? 0),
    rsp: BigInt(given.rsp ?? 0),
  };
}

/** The table that the segments could have been loaded from. */
function globalDescriptorTable(segments: readonly Segment[]): Placement {
  const data = new Uint8Array(GDT_ENTRIES * 8);
  const view = new DataView(data.buffer);
  for (const segment of segments) view.setBigUint64(segment.selector, descriptor(segment), true);
  return { what: GDT.what, address: GDT.address, size: data.length, data };
}

/** SDM volume 3, figure 3-8. */
function descriptor(segment: Segment): bigint {
  const limit = BigInt(segment.g ? segment.limit >>> 12 : segment.limit);
  const access = segment.type | (segment.s << 4) | (segment.dpl << 5) | (segment.present << 7);
  const flags = (segment.l << 1) | (segment.db << 2) | (segment.g << 3);
  return (
    (limit & 0xffffn) |
    ((segment.base & 0xff_ffffn) << 16n) |
    (BigInt(access) << 40n) |
    ((limit >> 16n) << 48n) |
    (BigInt(flags) << 52n) |
    ((segment.base >> 24n) << 56n)
  );
}

/** The first 4 GiB, one to one, in 2 MiB pages. */
function identityMap(): Placement {
  const data = new Uint8Array(PAGE_TABLES.size);
  const view = new DataView(data.buffer);
  const pdpt = PAGE_TABLES.address + TABLE_SIZE;
  const table = (address: number) => BigInt(address) | PTE_PRESENT | PTE_WRITE;
  view.setBigUint64(0, table(pdpt), true);
  for (let i = 0; i < DIRECTORIES; i++) {
    view.setBigUint64(TABLE_SIZE + i * 8, table(pdpt + (i + 1) * TABLE_SIZE), true);
  }
  for (let i = 0; i < DIRECTORIES * TABLE_ENTRIES; i++) {
    view.setBigUint64(2 * TABLE_SIZE + i * 8, table(i * LARGE_PAGE) | PTE_LARGE, true);
  }
  return { what: PAGE_TABLES.what, address: PAGE_TABLES.address, size: data.length, data };
}
