/**
 * A machine as plain data: what `assemble` makes a machine from, in every
 * thread alike. Made and checked by src/vm/validate.ts; nothing here is
 * optional and nothing refers to the host.
 */
import type { RamRegion } from "../memory/guest-memory.ts";

export interface DriveSpec {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** Bytes that the host's storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
  readonly readOnly: boolean;
  readonly serial: string;
  readonly queues: number;
  readonly writeCache: boolean;
}

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
  readonly drives: readonly DriveSpec[];
  readonly rng: boolean;
  readonly devices: readonly OwnDeviceSpec[];
  readonly traceUnclaimed: boolean;
}
