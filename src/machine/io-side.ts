/** What parts are served with on the io thread, and on no other. */
import type { BlockBackend } from "../disk/backend.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { ReportDevice } from "../virtio/device.ts";

export interface IoSide {
  readonly memory: GuestMemory;
  /** Hears what the user of the machine should know of a part. */
  readonly report: ReportDevice;
  /** The storage behind a part. @param tags requests have tags below this */
  disk(part: string, tags: number): BlockBackend;
  /** Fills `bytes` with numbers that nobody can predict. */
  random(bytes: Uint8Array): void;
}
