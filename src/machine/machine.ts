/**
 * A machine as one thread sees it: chips plugged into two address spaces, each
 * behind its lock, all state in one arena.
 *
 * Two machines assembled from the same spec over the same arena are the same
 * machine, so `add` must be called in the same order everywhere.
 */
import type { Arena } from "../base/arena.ts";
import type { Fields, Layout, View } from "../base/layout.ts";
import type { Lock } from "../base/lock.ts";
import { AddressSpace } from "../bus/address-space.ts";
import { Guarded } from "../bus/guarded.ts";
import type { IoDevice, IrqLine } from "../bus/io.ts";
import { type DriveIrq, LevelLine, LevelLineState } from "../bus/irq.ts";

/** Access counters by window, one array for each address space. */
export interface AccessCounts {
  readonly ports: Float64Array;
  readonly memory: Float64Array;
}

/** A range of addresses of one device; `offset` is the device's offset of the first of them. */
export interface Place {
  readonly space: "ports" | "memory";
  readonly address: number;
  readonly length: number;
  readonly offset?: number;
}

/** A chip and the lock that whoever calls its methods from outside the bus must hold. */
export interface Plugged<D> {
  readonly chip: D;
  readonly lock: Lock;
}

export class Machine {
  readonly ports: AddressSpace;
  readonly memory: AddressSpace;
  readonly #arena: Arena;
  readonly #driveIrq: DriveIrq;
  readonly #devices: IoDevice[] = [];

  constructor(arena: Arena, driveIrq: DriveIrq, counts: AccessCounts) {
    this.#arena = arena;
    this.#driveIrq = driveIrq;
    this.ports = new AddressSpace("ports", counts.ports);
    this.memory = new AddressSpace("memory", counts.memory);
  }

  /** State of a device that is about to be added. */
  take<const F extends Fields>(layout: Layout<F>, owner: string): View<F> {
    return this.#arena.take(layout, owner);
  }

  /** A level-triggered line to input `gsi` of the interrupt controllers. */
  line(gsi: number, owner: string): IrqLine {
    return new LevelLine(this.take(LevelLineState, owner), gsi, this.#driveIrq);
  }

  /** Plugs a chip in. `wrap` adapts its data bus, if that is narrower than the machine's. */
  add<D extends IoDevice>(
    name: string,
    chip: D,
    places: readonly Place[],
    wrap: (chip: D) => IoDevice = (same) => same,
  ): Plugged<D> {
    const lock = this.#arena.takeLock(name);
    const device = new Guarded(wrap(chip), lock);
    for (const { space, ...place } of places) this[space].add({ name, device, ...place });
    this.#devices.push(device);
    return { chip, lock };
  }

  /** Puts every device in its power-on state. For one thread, while no other runs the machine. */
  reset(): void {
    for (const device of this.#devices) device.reset();
  }
}
