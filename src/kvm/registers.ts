/**
 * General and special registers: between the kernel's structs and objects.
 *
 * Field names are those of struct kvm_regs, kvm_sregs, kvm_segment and
 * kvm_dtable in <asm/kvm.h>. 64-bit registers are bigints; selectors, limits
 * and one-bit fields are numbers.
 */
import { kvm_dtable, kvm_regs, kvm_segment, kvm_sregs } from "./abi.ts";

const GENERAL = [
  "rax",
  "rbx",
  "rcx",
  "rdx",
  "rsi",
  "rdi",
  "rsp",
  "rbp",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
  "rip",
  "rflags",
] as const;

const SEGMENTS = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"] as const;
const SEGMENT_BYTES = ["type", "present", "dpl", "db", "s", "l", "g", "avl", "unusable"] as const;
const TABLES = ["gdt", "idt"] as const;
const CONTROL = ["cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base"] as const;
const INTERRUPT_WORDS = 4; // of 64 vectors each

/** struct kvm_regs. */
export type Regs = Record<(typeof GENERAL)[number], bigint>;

/** struct kvm_segment: a segment register with its hidden part. */
export type Segment = {
  base: bigint;
  /** In bytes, whatever `g` is. */
  limit: number;
  selector: number;
} & Record<(typeof SEGMENT_BYTES)[number], number>;

/** struct kvm_dtable. */
export interface DescriptorTable {
  base: bigint;
  limit: number;
}

/** struct kvm_sregs. */
export type Sregs = Record<(typeof SEGMENTS)[number], Segment> &
  Record<(typeof TABLES)[number], DescriptorTable> &
  Record<(typeof CONTROL)[number], bigint> & {
    /** A bit for each external interrupt that waits; without KVM's interrupt controller only. */
    interrupt_bitmap: bigint[];
  };

/** Registers to change; the others stay. Numbers are taken for bigints where they are easier to write. */
export type RegsChange = { readonly [K in keyof Regs]?: bigint | number };

type Part<T> = { readonly [K in keyof T]?: T[K] extends bigint ? bigint | number : T[K] };

/** Special registers to change; of a segment or table, the fields to change. The others stay. */
export type SregsChange = { readonly [K in (typeof SEGMENTS)[number]]?: Part<Segment> } & {
  readonly [K in (typeof TABLES)[number]]?: Part<DescriptorTable>;
} & { readonly [K in (typeof CONTROL)[number]]?: bigint | number };

export function readRegs(bytes: Uint8Array): Regs {
  const data = view(bytes);
  const get = (name: (typeof GENERAL)[number]) => data.getBigUint64(kvm_regs[name], true);
  return {
    rax: get("rax"),
    rbx: get("rbx"),
    rcx: get("rcx"),
    rdx: get("rdx"),
    rsi: get("rsi"),
    rdi: get("rdi"),
    rsp: get("rsp"),
    rbp: get("rbp"),
    r8: get("r8"),
    r9: get("r9"),
    r10: get("r10"),
    r11: get("r11"),
    r12: get("r12"),
    r13: get("r13"),
    r14: get("r14"),
    r15: get("r15"),
    rip: get("rip"),
    rflags: get("rflags"),
  };
}

/** Writes the registers named in `change` over those in `bytes`. */
export function writeRegs(bytes: Uint8Array, change: RegsChange): void {
  const data = view(bytes);
  for (const name of GENERAL) {
    const value = change[name];
    if (value !== undefined) data.setBigUint64(kvm_regs[name], BigInt(value), true);
  }
}

export function readSregs(bytes: Uint8Array): Sregs {
  const data = view(bytes);
  const segment = (name: (typeof SEGMENTS)[number]) => readSegment(data, kvm_sregs[name]);
  const table = (name: (typeof TABLES)[number]): DescriptorTable => ({
    base: data.getBigUint64(kvm_sregs[name] + kvm_dtable.base, true),
    limit: data.getUint16(kvm_sregs[name] + kvm_dtable.limit, true),
  });
  const control = (name: (typeof CONTROL)[number]) => data.getBigUint64(kvm_sregs[name], true);
  return {
    cs: segment("cs"),
    ds: segment("ds"),
    es: segment("es"),
    fs: segment("fs"),
    gs: segment("gs"),
    ss: segment("ss"),
    tr: segment("tr"),
    ldt: segment("ldt"),
    gdt: table("gdt"),
    idt: table("idt"),
    cr0: control("cr0"),
    cr2: control("cr2"),
    cr3: control("cr3"),
    cr4: control("cr4"),
    cr8: control("cr8"),
    efer: control("efer"),
    apic_base: control("apic_base"),
    interrupt_bitmap: Array.from({ length: INTERRUPT_WORDS }, (_, i) =>
      data.getBigUint64(kvm_sregs.interrupt_bitmap + 8 * i, true),
    ),
  };
}

/** Writes what `change` names over what is in `bytes`. */
export function writeSregs(
  bytes: Uint8Array,
  change: SregsChange & { readonly interrupt_bitmap?: readonly bigint[] },
): void {
  const data = view(bytes);
  for (const name of SEGMENTS) {
    const segment = change[name];
    if (segment !== undefined) writeSegment(data, kvm_sregs[name], segment);
  }
  for (const name of TABLES) {
    const table = change[name];
    if (table?.base !== undefined) {
      data.setBigUint64(kvm_sregs[name] + kvm_dtable.base, BigInt(table.base), true);
    }
    if (table?.limit !== undefined) data.setUint16(kvm_sregs[name] + kvm_dtable.limit, table.limit, true);
  }
  for (const name of CONTROL) {
    const value = change[name];
    if (value !== undefined) data.setBigUint64(kvm_sregs[name], BigInt(value), true);
  }
  change.interrupt_bitmap?.slice(0, INTERRUPT_WORDS).forEach((word, i) => {
    data.setBigUint64(kvm_sregs.interrupt_bitmap + 8 * i, word, true);
  });
}

function readSegment(data: DataView, at: number): Segment {
  const byte = (name: (typeof SEGMENT_BYTES)[number]) => data.getUint8(at + kvm_segment[name]);
  return {
    base: data.getBigUint64(at + kvm_segment.base, true),
    limit: data.getUint32(at + kvm_segment.limit, true),
    selector: data.getUint16(at + kvm_segment.selector, true),
    type: byte("type"),
    present: byte("present"),
    dpl: byte("dpl"),
    db: byte("db"),
    s: byte("s"),
    l: byte("l"),
    g: byte("g"),
    avl: byte("avl"),
    unusable: byte("unusable"),
  };
}

function writeSegment(data: DataView, at: number, change: Part<Segment>): void {
  if (change.base !== undefined) data.setBigUint64(at + kvm_segment.base, BigInt(change.base), true);
  if (change.limit !== undefined) data.setUint32(at + kvm_segment.limit, change.limit, true);
  if (change.selector !== undefined) data.setUint16(at + kvm_segment.selector, change.selector, true);
  for (const name of SEGMENT_BYTES) {
    const value = change[name];
    if (value !== undefined) data.setUint8(at + kvm_segment[name], value);
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
