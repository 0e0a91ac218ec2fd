/**
 * A machine as plain data: what `assemble` makes a machine from, in every
 * thread alike. Made and checked by src/vm/validate.ts; nothing here is
 * optional and nothing refers to the host.
 */
import type { RamRegion } from "../memory/guest-memory.ts";
import type { BlkDisk } from "../virtio/blk/blk.ts";

/** A device that the program provides: its registers are served on the program's own thread. */
export interface OwnDeviceSpec {
  readonly name: string;
  readonly space: "port" | "memory";
  readonly address: number;
  readonly length: number;
}

export interface MachineSpec {
  readonly cpus: number;
  readonly ram: readonly RamRegion[];
  /** 1 to 4. */
  readonly serialPorts: number;
  readonly drives: readonly BlkDisk[];
  readonly rng: boolean;
  readonly devices: readonly OwnDeviceSpec[];
  readonly traceUnclaimed: boolean;
}
