/**
 * The data of the report's page: one JSON object, already added up, so that a trace
 * of millions of exits makes a page of bounded size.
 *
 * The generator (this folder) writes it, the page (report-page/) draws it; this
 * file is all that they share. Times are in nanoseconds since the trace began.
 */

/** Exit reasons beyond these are counted as one, "others", which comes last. */
export const MAX_REASONS = 12;
/** vCPUs with a lane of their own in the timeline. */
export const MAX_LANES = 16;

export interface ReportData {
  readonly name: string;
  /** ISO 8601, or empty if the trace does not say. */
  readonly startedAt: string;
  readonly vcpus: number;
  /** Until the last record. */
  readonly duration: number;
  readonly exits: number;
  /** Exits that happened and were not recorded, because the trace's ring was full. */
  readonly dropped: number;
  /** Why and where the trace ends too early; absent for a complete one. */
  readonly cut?: string;
  /** Time of all vCPUs in KVM_RUN, and between its return and the next. */
  readonly inside: number;
  readonly outside: number;
  /** Most frequent first; every `reason` number below is an index into it. */
  readonly reasons: readonly ReasonRow[];
  readonly timeline: Timeline;
  readonly tree: TreeNode;
  readonly durations: Durations;
  readonly memory?: TouchedMemory;
  readonly map: readonly MapRow[];
  readonly kernel?: KernelCounters;
  readonly network?: NetworkData;
  readonly steps: StepWindow;
}

export interface ReasonRow {
  /** As api.rst names it, without KVM_EXIT_. */
  readonly name: string;
  readonly exits: number;
  readonly inside: number;
  readonly outside: number;
  /** Of the time outside, to about 2 %. */
  readonly p50: number;
  readonly p99: number;
}

/** Sums over bins of equal width, the first of which begins at 0. */
export interface Timeline {
  readonly width: number;
  /** Exits, by reason. */
  readonly exits: readonly (readonly number[])[];
  readonly lanes: readonly Lane[];
}

/** One vCPU's time. Time that is in neither series was not traced. */
export interface Lane {
  readonly vcpu: number;
  readonly guest: readonly number[];
  /** By reason. */
  readonly host: readonly (readonly number[])[];
}

/** Reason, then device, then register. */
export interface TreeNode {
  readonly name: string;
  readonly exits: number;
  readonly outside: number;
  /** Largest first. */
  readonly children: readonly TreeNode[];
}

/** The time outside the guest for each exit: bins whose edges grow by a constant factor. */
export interface Durations {
  /** One more than there are bins. */
  readonly edges: readonly number[];
  /** By reason, then by bin. */
  readonly exits: readonly (readonly number[])[];
  readonly time: readonly (readonly number[])[];
}

/** Pages written, by time and by address. */
export interface TouchedMemory {
  /** Bytes of a page; `pages` counts these. */
  readonly page: number;
  /** Bytes of guest-physical memory in a row. */
  readonly rowBytes: number;
  readonly rows: number;
  /** Nanoseconds in a column. */
  readonly columnWidth: number;
  readonly columns: number;
  readonly cells: readonly { readonly column: number; readonly row: number; readonly pages: number }[];
}

/** A range of guest-physical memory or of ports, and the device that answers there. */
export interface MapRow {
  readonly space: "port" | "memory";
  readonly name: string;
  readonly address: number;
  readonly length: number;
  readonly what: "ram" | "device";
  /** Accesses that reached user space. */
  readonly exits: number;
}

/** What the network cards carried, and what the user network decided. Absent in a trace without them. */
export interface NetworkData {
  readonly cards: readonly CardRow[];
  /** Most frequent first, at most MAX_CONNECTIONS. */
  readonly connections: readonly ConnectionRow[];
  /** The first of the trace, at most MAX_EVENTS: frames and decisions in their order. */
  readonly events: readonly NetworkEventRow[];
  /** Frames and decisions that are not in `events`. */
  readonly more: number;
  /** Those that are not in the trace, because they came too fast. */
  readonly lost: number;
}

/** Connections in the report's table. */
export const MAX_CONNECTIONS = 100;
/** Frames and decisions in the report's list. */
export const MAX_EVENTS = 500;

export interface CardRow {
  readonly card: string;
  readonly framesOut: number;
  readonly bytesOut: number;
  readonly framesIn: number;
  readonly bytesIn: number;
}

export interface ConnectionRow {
  readonly protocol: string;
  readonly target: string;
  readonly verdict: string;
  readonly count: number;
}

export interface NetworkEventRow {
  readonly t: number;
  readonly card: string;
  /** decision: of the user network. */
  readonly direction: "in" | "out" | "decision";
  readonly text: string;
  /** Bytes of a frame; 0 for a decision. */
  readonly length: number;
}

/** The kernel's own statistics at the last sample. */
export interface KernelCounters {
  readonly t: number;
  /** Resets of the machine before these counters: each reset starts them again. */
  readonly resets: number;
  readonly vm: readonly Counter[];
  readonly vcpus: readonly (readonly Counter[])[];
}

export interface Counter {
  readonly name: string;
  readonly value: number;
  /** The growth while the trace was written. */
  readonly during: number;
}

/** Consecutive exits of the trace, one by one. */
export interface StepWindow {
  /** The trace has registers for these. */
  readonly registers: boolean;
  readonly steps: readonly Step[];
  /** Code at exits; `Step.code` is an index. */
  readonly listings: readonly Listing[];
}

export interface Step {
  readonly seq: number;
  readonly vcpu: number;
  readonly t: number;
  readonly inside: number;
  readonly outside: number;
  readonly reason: number;
  readonly rip: string;
  readonly mode: string;
  readonly access?: Access;
  readonly device?: string;
  /** The device's name for the register, if it is known. */
  readonly register?: string;
  /** The registers that differ from the same vCPU's previous step; all of them in its first step. */
  readonly changed?: Readonly<Record<string, string>>;
  readonly code?: number;
}

export interface Access {
  readonly space: "port" | "memory";
  readonly direction: "in" | "out" | "read" | "write";
  readonly address: number;
  readonly size: number;
  /** Elements of a `rep`; `values` has the first of them. */
  readonly count: number;
  readonly values: readonly (number | string)[];
}

export interface Listing {
  readonly lines: readonly Instruction[];
  /** The line that caused the exit, if it is among them: KVM may have completed it already. */
  readonly cause?: number;
}

export interface Instruction {
  readonly address: string;
  readonly bytes: string;
  readonly text: string;
}
