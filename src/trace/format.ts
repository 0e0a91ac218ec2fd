/**
 * A trace: the events of a machine, as a sequence of records. `vm.trace()` and a trace
 * file have the same objects. The file is NDJSON: one record on each line, `kind`
 * first.
 *
 * A trace begins with a `trace` record, the header. Each return of KVM_RUN is
 * an `exit`; docs/trace.md says which exits never return from there. It ends with an
 * `end` record, unless it was truncated.
 *
 * Times are in ns since the trace began; addresses are guest-physical numbers;
 * 64-bit values of registers are hex strings.
 */

/** A 64-bit value: "0x" and hex digits. */
export type Hex = `0x${string}`;

export const TRACE_VERSION = 1;

/** A range of guest-physical addresses or I/O ports. */
export interface MapRange {
  readonly space: "port" | "memory";
  /** The device, or "ram"; several ranges may belong to one device. */
  readonly name: string;
  readonly address: number;
  /** Bytes. */
  readonly length: number;
  readonly what: "ram" | "device";
}

/** The first record: the machine, and the options of the trace. */
export interface TraceHeader {
  readonly kind: "trace";
  readonly version: typeof TRACE_VERSION;
  /** The machine's name. */
  readonly name: string;
  readonly vcpus: number;
  /** The host's time at t = 0: ISO 8601. */
  readonly startedAt: string;
  readonly unit: "ns";
  /** The address map. */
  readonly map: readonly MapRange[];
  /** Exits have `regs`, and `code` where it could be read. */
  readonly registers: boolean;
}

/** The mode of the CPU, by CR0.PE, RFLAGS.VM, EFER.LMA and CS.L. */
export const CPU_MODES = ["real", "protected", "virtual-8086", "compatibility", "long"] as const;
export type CpuMode = (typeof CPU_MODES)[number];

export const REGISTER_NAMES = [
  ...["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"],
  ...["rip", "rflags", "cs", "ss", "cr0", "cr2", "cr3", "cr4", "efer"],
] as const;

/** By name; cs and ss are selectors. */
export interface TraceRegisters {
  readonly rax: Hex;
  readonly rbx: Hex;
  readonly rcx: Hex;
  readonly rdx: Hex;
  readonly rsi: Hex;
  readonly rdi: Hex;
  readonly rsp: Hex;
  readonly rbp: Hex;
  readonly r8: Hex;
  readonly r9: Hex;
  readonly r10: Hex;
  readonly r11: Hex;
  readonly r12: Hex;
  readonly r13: Hex;
  readonly r14: Hex;
  readonly r15: Hex;
  readonly rip: Hex;
  readonly rflags: Hex;
  readonly cs: Hex;
  readonly ss: Hex;
  readonly cr0: Hex;
  readonly cr2: Hex;
  readonly cr3: Hex;
  readonly cr4: Hex;
  readonly efer: Hex;
}

/** KVM_RUN returned. Fields without a meaning for a reason are absent. */
export interface ExitRecord {
  readonly kind: "exit";
  /** Counts the exits of all vCPUs from 1; those that were dropped or filtered out are counted too. */
  readonly seq: number;
  readonly vcpu: number;
  /** The time at which KVM_RUN returned. */
  readonly t: number;
  /** KVM_EXIT_ name of api.rst, section 5: "IO", "MMIO", "HLT"; the number of a reason without a name here. */
  readonly reason: string;
  /** As KVM shows it: of the instruction that exited, or of the one after it if KVM had emulated all but the access. */
  readonly rip: Hex;
  readonly mode: CpuMode;
  /** IO: in, out. MMIO: read, write. */
  readonly direction?: "in" | "out" | "read" | "write";
  /** IO. */
  readonly port?: number;
  /** MMIO: guest-physical. */
  readonly address?: number;
  /** Bytes of one element. */
  readonly size?: number;
  /** Elements: more than 1 for `rep ins` and `rep outs`. */
  readonly count?: number;
  /** Values written by the guest, or answers to it: the first elements of `count`. One of 8 bytes is a hex string. */
  readonly values?: readonly (number | Hex)[];
  /** The device that answered; "unclaimed" without a device. */
  readonly device?: string;
  /** ns from KVM_RUN's return to the next KVM_RUN. */
  readonly outside: number;
  /** ns in KVM_RUN, up to `t`. It includes most of the work of the host's kernel for the guest. */
  readonly inside: number;
  /** The registers at the exit. */
  readonly regs?: TraceRegisters;
  /** Up to 16 bytes of memory at RIP, in hex. */
  readonly code?: string;
  /** Up to 15 bytes in front of RIP: where RIP is past the instruction that exited, they end with it. */
  readonly before?: string;
}

/** At this place `count` exits of a vCPU are missing: the reader was too slow. */
export interface DroppedRecord {
  readonly kind: "dropped";
  readonly t: number;
  readonly vcpu: number;
  readonly count: number;
}

/** Guest memory that the guest's CPUs wrote since the last such record. */
export interface MemoryRecord {
  readonly kind: "memory";
  readonly t: number;
  /** Bytes of a page. */
  readonly page: number;
  /** Bytes for each index: address = index * granule. */
  readonly granule: number;
  readonly dirty: readonly (readonly [granuleIndex: number, pagesWritten: number])[];
}

/** KVM's own counters of a VM or a vCPU, by name; those that only grow. @see api.rst, 4.133 KVM_GET_STATS_FD */
export type KernelCounters = Readonly<Record<string, number>>;

/**
 * KVM's counters since the machine was made or reset. There is one record when a
 * trace begins and after each reset, and one before the next reset or the end: their
 * difference is the change in between.
 */
export interface KernelRecord {
  readonly kind: "kernel";
  readonly t: number;
  /** Resets of the machine so far. Each starts the counters again. */
  readonly cycle: number;
  readonly vm: KernelCounters;
  readonly vcpus: readonly KernelCounters[];
}

/** A frame of a network card. */
export interface FrameRecord {
  readonly kind: "frame";
  readonly t: number;
  /** The device. */
  readonly card: string;
  /** out: of the guest. */
  readonly direction: "in" | "out";
  /** Bytes, without FCS. */
  readonly length: number;
  /** For people: addresses, protocol, what it says. */
  readonly text: string;
}

/** What the user network did with a connection, a name or a lease that the guest asked for. */
export interface ConnectionRecord {
  readonly kind: "connection";
  readonly t: number;
  readonly card: string;
  /** tcp, udp, icmp, dns, dhcp. */
  readonly protocol: string;
  readonly target: string;
  /** open, denied, refused, answered, forwarded. */
  readonly verdict: string;
  /** Why, or with what. */
  readonly detail?: string;
}

/** The last record. */
export interface EndRecord {
  readonly kind: "end";
  readonly t: number;
  /** Exits that are in the trace. */
  readonly exits: number;
  /** Exits that were dropped. */
  readonly dropped: number;
  /** Frames and connections that were dropped, if any were. */
  readonly lostFrames?: number;
}

export type TraceRecord =
  | TraceHeader
  | ExitRecord
  | DroppedRecord
  | MemoryRecord
  | KernelRecord
  | FrameRecord
  | ConnectionRecord
  | EndRecord;

/** A record, as a line of a trace file. */
export function encodeRecord(record: TraceRecord): string {
  return `${JSON.stringify(record)}\n`;
}
