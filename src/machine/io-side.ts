/** What the parts use on the io thread, and only there. */
import type { Bell } from "../bus/io-task.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { ReportDevice } from "../virtio/device.ts";
import type { DiskBackEnd, NetBackEnd } from "./back-ends.ts";

export interface IoSide {
  readonly memory: GuestMemory;
  /** Marks what devices write to RAM. */
  readonly dirty: DirtySink;
  /** Takes reports of a part for the machine's user. */
  readonly report: ReportDevice;
  /** Event `bell` of the machine: see Slot.bells. */
  bell(bell: number): Bell;
  /** The storage behind a part. @param tags requests have tags below this */
  disk(part: string, tags: number): DiskBackEnd;
  /** What a network card is connected to. */
  network(part: string): NetBackEnd;
  /** Gives RAM back to the host, where it reads as zero: RAM offset and length in bytes, multiples of 4096. */
  readonly discard: (offset: number, length: number) => void;
  /** Fills `bytes` with cryptographically random values. */
  readonly random: (bytes: Uint8Array) => void;
}
