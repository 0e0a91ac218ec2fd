/** What parts are served with on the io thread, and on no other. */
import type { Bell } from "../bus/io-task.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { ReportDevice } from "../virtio/device.ts";
import type { DiskBackEnd } from "./back-ends.ts";

export interface IoSide {
  readonly memory: GuestMemory;
  /** Hears what devices write to RAM. */
  readonly dirty: DirtySink;
  /** Hears what the user of the machine should know of a part. */
  readonly report: ReportDevice;
  /** Event `bell` of the machine: see Slot.bells. */
  bell(bell: number): Bell;
  /** The storage behind a part. @param tags requests have tags below this */
  disk(part: string, tags: number): DiskBackEnd;
  /** Gives RAM back to the host, where it reads as zero: RAM offset and length in bytes, multiples of 4096. */
  readonly discard: (offset: number, length: number) => void;
  /** Fills `bytes` with numbers that nobody can predict. */
  readonly random: (bytes: Uint8Array) => void;
}
