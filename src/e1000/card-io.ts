/** What the io thread's side of the card works with. */
import type { Lock } from "../base/lock.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { NetBackend } from "../net/backend.ts";
import type { ReportDevice } from "../virtio/device.ts";
import type { E1000Registers } from "./registers.ts";

export interface CardIo {
  /** For reports. */
  readonly name: string;
  readonly regs: E1000Registers;
  /** Of the registers. */
  readonly lock: Lock;
  readonly memory: GuestMemory;
  readonly dirty: DirtySink;
  readonly report: ReportDevice;
  readonly backend: NetBackend;
  /** ACCEPTS_ bits of what the back end completes itself. */
  readonly offloads: number;
  /** NET_FIELDS. */
  readonly counters: Float64Array;
  /** The guest lets the card access memory. Wants the lock. */
  readonly mayMaster: () => boolean;
}
