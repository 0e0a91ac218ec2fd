/**
 * What has to be in memory and in the first CPU's registers when a guest starts:
 * plain data, made by pure functions and carried out by src/vm.
 */

/** Random access to a file or a buffer, enough to read headers. */
export interface ByteSource {
  /** Length in bytes. */
  readonly size: number;
  /** Up to `length` bytes from `offset` on; fewer only at the end of the source. */
  read(offset: number, length: number): Uint8Array;
}

/** Bytes made here, or a range of one of the user's files that goes into RAM without passing through JavaScript. */
export type PlacedData =
  | Uint8Array
  | { readonly file: "kernel" | "initrd"; readonly offset: number; readonly length: number };

/** `data` goes to guest-physical `address`; what follows it, up to `size` bytes, is zero. */
export interface Placement {
  readonly what: string;
  readonly address: number;
  readonly size: number;
  readonly data: PlacedData;
}

/**
 * How the boot CPU enters the guest.
 * real16: CS:IP = rip >> 4 : rip & 15 with flat 64 KiB segments, as a boot sector expects it.
 * protected32: flat 4 GiB segments, paging off (PVH, Multiboot).
 * long64: flat segments, 64-bit mode, the first 4 GiB mapped one to one (Linux 64-bit boot protocol).
 */
export interface Entry {
  readonly mode: "real16" | "protected32" | "long64";
  readonly rip: number;
  readonly registers: {
    readonly rax?: number;
    readonly rbx?: number;
    readonly rsi?: number;
    readonly rsp?: number;
  };
}

export interface BootPlan {
  /** The protocol's name, for messages: "bzImage", "Multiboot", "PVH", "flat". */
  readonly protocol: string;
  readonly placements: readonly Placement[];
  readonly entry: Entry;
}

/** One range of the guest-physical memory map. */
export interface MemoryRange {
  readonly address: number;
  readonly size: number;
  readonly type: "ram" | "reserved" | "acpi";
}

/** A boot image, command line or initrd that cannot be started, and why. */
export class BootError extends Error {
  override readonly name = "BootError";
  readonly code = "EBOOT";
}
