/** A board: an ordered list of parts, as data. */
import type { GenerationIdPlace } from "../boot/acpi/description.ts";
import type { AddressSpace } from "../bus/address-space.ts";
import type { RamRegion } from "../memory/guest-memory.ts";
import type { KernelWishes } from "./kernel-wishes.ts";
import type { LateParts } from "./late-parts.ts";
import type { Plug } from "./part.ts";
import type { MachineSpec } from "./spec.ts";

/** Where a machine has its VM generation ID, for its guest and for the monitor. */
export interface BoardGenerationId extends GenerationIdPlace {
  /** The board's memory that it is in, and its offset there. RAM without it. */
  readonly memory?: { readonly name: string; readonly offset: number };
}

/** What of a machine a board prepares. */
export interface Prepared {
  readonly ports: AddressSpace;
}

export interface Board {
  /** As in a spec. */
  readonly name: string;
  /** Every part that a machine of this spec has, in the order in which state is taken for them. */
  parts(spec: MachineSpec, late?: LateParts): readonly Plug[];
  /** The board's memories besides RAM: name and size in bytes. */
  memories?(spec: MachineSpec): Readonly<Record<string, number>>;
  /**
   * Does what firmware would have done with the board before it starts a kernel. Called after the
   * machine was reset, if there is no firmware.
   */
  prepare?(machine: Prepared): void;
  /** The RAM that the guest always sees; all of it without this. Parts show it the rest, or not. */
  fixedRam?(spec: MachineSpec): readonly RamRegion[];
  /** Where its machines have a VM generation ID, if their specs say so. */
  readonly generationId?: BoardGenerationId;
  /** What KVM must have for the board itself, besides RAM. */
  kernel?(spec: MachineSpec): KernelWishes;
}
