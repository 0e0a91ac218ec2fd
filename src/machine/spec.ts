/**
 * A machine as plain data: every thread assembles its copy from the same spec.
 * src/vm makes it from checked options and the facts of disks. It contains no
 * file name, descriptor or other object of the host.
 */
import type { RamRegion } from "../memory/guest-memory.ts";
import type { Topology } from "./topology.ts";

/** A device that is plugged into a board. */
export interface DeviceSpec {
  /** Which part it is: "virtio-blk". */
  readonly kind: string;
  /** Names it in messages, statistics and the address map. Unique in a machine. */
  readonly name: string;
  /** What the part's `assemble` takes. */
  readonly config: object;
  /** Where it was asked to be, on a board that has more than one kind of place. */
  readonly place?: DevicePlace;
}

/** A place that was asked for. What is left out, the board chooses. */
export interface DevicePlace {
  /** "pci.0", "ide.0", "ide.1". */
  readonly bus?: string;
  /** The device number on a PCI bus. */
  readonly slot?: number;
  readonly fn?: number;
  /** The drive on an IDE channel, the target on a SCSI controller. */
  readonly unit?: number;
  /** The logical unit of the target. */
  readonly lun?: number;
}

/** A flash chip. */
export interface FlashSpec {
  /** A multiple of 4096. */
  readonly size: number;
  readonly readOnly: boolean;
}

/** The firmware of a machine that begins with it. */
export interface FirmwareSpec {
  /** Bytes of its image: a multiple of 64 KiB. 0 if it is in flash chips. */
  readonly size: number;
  /** The first one ends at 4 GiB, the next one below it. */
  readonly flash?: readonly FlashSpec[];
  /** Letters, first choice first: a floppy, c disk, d CD, n network. */
  readonly bootOrder: string;
  /** Of the machine, if it was given one. */
  readonly uuid?: string;
  /** It offers a menu of what to boot from. */
  readonly bootMenu: boolean;
  /** It tries nothing that has no place in the boot order, if anything has one. */
  readonly bootStrict?: boolean;
}

/** A device that the program provides: the program's own thread serves its registers. */
export interface OwnDeviceSpec {
  readonly name: string;
  readonly space: "ports" | "memory";
  readonly address: number;
  readonly length: number;
}

export interface MachineSpec {
  /** Which board: "microvm", "pc". */
  readonly board: string;
  readonly cpus: number;
  /** Only if they are not the cores of one socket: see topologyOf. */
  readonly topology?: Topology;
  readonly ram: readonly RamRegion[];
  /** 1 to 4. */
  readonly serialPorts: number;
  /** By how many milliseconds the CMOS clock is ahead of the host's; undefined for 0. */
  readonly rtcOffsetMs?: number;
  /** The CMOS clock repeats periodic interrupts that were lost. */
  readonly rtcSlew?: boolean;
  /** KVM's i8254 timer. */
  readonly pit: boolean;
  /** A VM generation ID, if the board has a place for it. */
  readonly generationId?: boolean;
  /** In the order in which they get their places. */
  readonly devices: readonly DeviceSpec[];
  readonly own: readonly OwnDeviceSpec[];
  /** Room for what the machine's owner puts into fw_cfg: a multiple of 4096. Undefined for nothing. */
  readonly userFilesBytes?: number;
  /** Absent if the machine begins with a kernel. */
  readonly firmware?: FirmwareSpec;
}
