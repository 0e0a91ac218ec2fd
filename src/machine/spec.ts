/**
 * A machine as plain data: every thread assembles its copy from the same spec.
 * src/vm makes it from checked options and the facts of disks. It contains no
 * file name, descriptor or other object of the host.
 */
import type { RamRegion } from "../memory/guest-memory.ts";

/** A device that is plugged into a board. */
export interface DeviceSpec {
  /** Which part it is: "virtio-blk". */
  readonly kind: string;
  /** Names it in messages, statistics and the address map. Unique in a machine. */
  readonly name: string;
  /** What the part's `assemble` takes. */
  readonly config: object;
}

/** A device that the program provides: the program's own thread serves its registers. */
export interface OwnDeviceSpec {
  readonly name: string;
  readonly space: "ports" | "memory";
  readonly address: number;
  readonly length: number;
}

export interface MachineSpec {
  /** Which board: "microvm". */
  readonly board: string;
  readonly cpus: number;
  readonly ram: readonly RamRegion[];
  /** 1 to 4. */
  readonly serialPorts: number;
  /** KVM's i8254 timer. */
  readonly pit: boolean;
  /** In the order in which they get their places. */
  readonly devices: readonly DeviceSpec[];
  readonly own: readonly OwnDeviceSpec[];
}
