/**
 * One device that is plugged into a board. One file defines a part: how it is
 * assembled, its entries in firmware tables, and its task on the io thread. The
 * board decides where it is.
 *
 * Parts are plain objects without state. Every thread of a machine assembles its
 * own copy from the same spec, over the same shared registers.
 */
import type { Fields, Layout, View } from "../base/layout.ts";
import type { Lock } from "../base/lock.ts";
import type { MovingWindow, Range } from "../bus/address-space.ts";
import type { IoDevice, IrqLine } from "../bus/io.ts";
import type { IoTask } from "../bus/io-task.ts";
import type { DiskOrder, DiskReply } from "../disk/disk-order.ts";
import type { DriveOrder } from "../images/medium-order.ts";
import type { Property } from "../virtio/device.ts";
import type { Description } from "./describe/description.ts";
import type { KernelWishes } from "./kernel-wishes.ts";
import type { Ports } from "./ports.ts";

/** A range of addresses of one part; `offset` is the part's offset of the first address. */
export interface WindowPlace extends Range {
  readonly space: "ports" | "memory";
  readonly offset?: number;
}

/** Where the board puts a part. */
export interface Place {
  /** Empty for a part whose windows move: then the guest places them. */
  readonly windows: readonly WindowPlace[];
  /** Input of the interrupt controllers; absent for a part without an interrupt line. */
  readonly gsi?: number;
  /** Several parts share that line. */
  readonly sharesLine?: boolean;
}

/** A line whose level is in the registers. */
export interface DrivenLine {
  /** Lowers its input, if it is asserted. */
  lower(): void;
  /** Drives its input, if it is asserted. */
  drive(): void;
}

/** What a part gets from the board while it is assembled. */
export interface Slot {
  readonly name: string;
  readonly place: Place;
  readonly ports: Ports;
  /** Allocates registers of the part. Every thread must ask for the same ones in the same order. */
  take<const F extends Fields>(layout: Layout<F>): View<F>;
  /** The level-triggered line to the part's input of the interrupt controllers, or to another one. */
  line(gsi?: number): IrqLine;
  /** Connects a chip to the part's windows, behind its own lock or behind one that the part has already. */
  add(chip: IoDevice, lock?: Lock): Lock;
  /** Puts a chip without a window behind a lock. Other parts reach it. */
  addHidden(chip: IoDevice): Lock;
  /**
   * Connects a chip, behind its lock, to a window whose address is in registers.
   * @param registers the lock of those registers, if it is not the chip's own
   * @param lock the chip's, if the part has it already
   */
  addMoving(
    space: "ports" | "memory",
    chip: IoDevice,
    place: MovingWindow["place"],
    registers?: Lock,
    lock?: Lock,
  ): Lock;
  /** Adds a line of the part's own: it follows when registers are replaced. */
  drivesLines(line: DrivenLine): void;
  /** Reserves `count` events that KVM can signal for a guest's write; the number of the first. */
  bells(count: number): number;
  /** Reserves `count` interrupts that can be routed to messages; the GSI of the first. */
  messages(count: number): number;
}

/** An assembled part, as the rest of the monitor uses it. */
export interface Made {
  /** Callers hold it during every call of the members below. */
  readonly lock: Lock;
  /** Takes a byte from the outside. False if it cannot now; `Ports.ready` follows. */
  receive?(byte: number): boolean;
  pressPowerButton?(): void;
  /** Properties that the owner of the machine can read and set while the guest runs. */
  readonly properties?: Readonly<Record<string, Property>>;
  /** Drives inside the part whose tray is open, by their names. A reset does not close it. */
  openTrays?(): readonly string[];
  /** What KVM does for the part without an exit, computed from its present registers. */
  kernel?(): KernelWishes;
  /** On the io thread: what the owner may ask of disks that are inside the part, by their names. */
  readonly orders?: ReadonlyMap<string, (order: DriveOrder) => DiskReply>;
  /** The part has a task although it has neither bells nor a disk: a timer. */
  readonly hasTimer?: true;
  /** On the io thread: the part's task. */
  readonly task?: IoTask<DiskOrder, DiskReply> | undefined;
}

export interface Part<C> {
  /** As in a spec: "virtio-blk". */
  readonly kind: string;
  assemble(slot: Slot, config: C): Made;
  /** Its entries in the guest's firmware tables. */
  describe?(place: Place, config: C): Description;
}

/** A part with its place and its configuration: an entry of a board's list. */
export interface Plug {
  readonly name: string;
  readonly place: Place;
  assemble(slot: Slot): Made;
  describe(): Description;
}

export function plug<C>(part: Part<C>, name: string, place: Place, config: C): Plug {
  return {
    name,
    place,
    assemble: (slot) => part.assemble(slot, config),
    describe: () => part.describe?.(place, config) ?? {},
  };
}
