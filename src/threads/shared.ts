/**
 * What the threads of one machine share, in the form in which it is sent to a new
 * thread: plain data, shared buffers and handle tokens.
 */
import type { DiskReply } from "../disk/disk-order.ts";
import type { DriveImage } from "../images/drive.ts";
import type { DriveOrder } from "../images/medium-order.ts";
import type { MachineSpec } from "../machine/spec.ts";
import type { DumpData } from "../net/dump.ts";
import type { FrameRings } from "../net/frame-ring.ts";
import type { TapData } from "../net/tap.ts";
import type { FrameWatchData } from "../net/watch-backend.ts";
import type { PollLimits } from "./io/busy-poll.ts";
import type { ProgramDiskData, ProgramRequest } from "./io/program-disk.ts";

/** Everything a thread needs for its own copy of the machine. Numbers named after handles are tokens. */
export interface ThreadData {
  readonly spec: MachineSpec;
  /** The machine's state blocks and locks. */
  readonly state: SharedArrayBuffer;
  /** Control blocks, mailboxes, counters and console rings: see blocks.ts. */
  readonly threads: SharedArrayBuffer;
  readonly vm: number;
  readonly ram: number;
  /** Memories of the board besides RAM, in the order of `Hardware.memories`. */
  readonly memories: readonly { readonly name: string; readonly token: number }[];
  /** Events that KVM signals for a guest's writes, by number: see Slot.bells. */
  readonly bells: readonly number[];
  /** Wakes the io thread. */
  readonly ioWake: number;
  /** What the monitor writes to RAM: see DirtyMap. */
  readonly dirty: SharedArrayBuffer;
  /** Accesses that no device answers are reported. */
  readonly reportUnclaimed: boolean;
  readonly role: Role;
}

export type Role = VcpuRole | IoRole;

export interface VcpuRole {
  readonly kind: "vcpu";
  readonly index: number;
  readonly vcpu: number;
}

export interface IoRole {
  readonly kind: "io";
  /** By part. */
  readonly storage: ReadonlyMap<string, DriveStorage>;
  /** By part. */
  readonly networks: ReadonlyMap<string, NetworkData>;
  /** A shared thread polls as the first says. */
  readonly polling: PollLimits;
}

/** Where the data of a disk is. */
export type DriveStorage =
  | { readonly kind: "image"; readonly image: DriveImage }
  | {
      readonly kind: "program";
      readonly program: ProgramDiskData;
      /** Discards free storage. */
      readonly discards: boolean;
    };

/** What a network card or a vsock device is connected to. */
export type NetworkData = CardData | VsockData;

/** With where a card's frames may be watched, and perhaps a file for them. */
type CardData = { readonly dump?: DumpData | undefined; readonly watch: FrameWatchData } & (
  | { readonly kind: "tap"; readonly tap: TapData }
  /** A network on the program's thread. */
  | { readonly kind: "program"; readonly rings: FrameRings }
);

type VsockData =
  /** Connections of the program's thread. */
  | { readonly kind: "vsock"; readonly rings: FrameRings }
  /** Of the kernel: the token of /dev/vhost-vsock. */
  | { readonly kind: "vhost-vsock"; readonly token: number };

/** What the owner of the machine sends to a vCPU thread after its role: where to record its exits. */
export interface TraceOrder {
  readonly kind: "trace";
  /** TRACE_RING_BYTES bytes. */
  readonly ring: SharedArrayBuffer;
}

/** An order of the machine's owner to the io thread, for one part; a reply follows. */
export interface PartOrder {
  readonly id: number;
  readonly part: string;
  readonly order: DriveOrder;
}

/** The reply to an order. As data, because an error loses its class on the way to another thread. */
export type PartReply =
  | { readonly id: number; readonly failure: { readonly code: string; readonly message: string } }
  | { readonly id: number; readonly failure?: undefined; readonly reply: DiskReply };

/** A message of a thread to the owner of the machine. */
export type Message =
  /** Stopped at a safe point. */
  | { readonly kind: "parked" }
  /** The role has ended; the thread holds nothing of the machine, and can take another role. */
  | { readonly kind: "free" }
  /** Bytes are waiting in the ring of `part`. */
  | { readonly kind: "output"; readonly part: string }
  /** `part` has frames for the program's network, or room for frames of it. */
  | { readonly kind: "frames"; readonly part: string }
  /** `part` can take bytes again. */
  | { readonly kind: "ready"; readonly part: string }
  /** vCPU `index` calls a device of the program; the access is in its mailbox. */
  | { readonly kind: "device"; readonly index: number }
  /** The guest ended or reset the machine. */
  | { readonly kind: "ending"; readonly ending: Ending }
  /** A vCPU stopped for a debugger, and parks. */
  | { readonly kind: "debug"; readonly stop: DebugStop }
  /** A device reports an error to its user: a broken queue, an I/O error of the host. */
  | { readonly kind: "report"; readonly device: string; readonly code: string; readonly message: string }
  /** A request for the program's own disk behind `part`; the answer goes to the disk's ResultRing. */
  | { readonly kind: "disk"; readonly part: string; readonly tag: number; readonly request: ProgramRequest }
  /** The io thread carried out an order, or could not. */
  | ({ readonly kind: "reply" } & PartReply)
  | {
      readonly kind: "unclaimed";
      readonly space: "port" | "memory";
      readonly direction: "read" | "write";
      readonly address: number;
      readonly size: number;
      readonly value: number;
    };

/** Where a vCPU stopped for a debugger (KVM_EXIT_DEBUG): between two instructions. */
export interface DebugStop {
  readonly vcpu: number;
  /** 1 (#DB): a step, a hardware breakpoint or a watchpoint; see `dr6`. 3 (#BP): an INT3, which was not executed. */
  readonly exception: number;
  /** Linear address of the instruction: CS.base + RIP. */
  readonly pc: bigint;
  readonly dr6: bigint;
}

/** How a machine came to its end. */
export interface Ending {
  /**
   * poweroff: the guest switched itself off. reset: it reset itself and onReset
   * is "exit". stopped: stop() was called. exit: it wrote a status to the
   * debug-exit port. crash: a triple fault, a kernel panic, an exit that
   * cannot be served, or a failure of the monitor; `message` says which.
   */
  readonly reason: "poweroff" | "reset" | "stopped" | "exit" | "crash";
  /** isa-debug-exit: (value << 1) | 1. */
  readonly status?: number;
  readonly message?: string;
}
