/**
 * A machine as one thread sees it: the parts of a board, plugged into two address
 * spaces, each part behind its lock, all state in one arena.
 *
 * Assembly is pure: every thread gets the same machine from the same spec and
 * arena. So nothing here may be random or asynchronous, or depend on the host.
 */
import type { Arena } from "../base/arena.ts";
import type { Generation } from "../base/generation.ts";
import type { Fields, Layout, View } from "../base/layout.ts";
import type { Lock } from "../base/lock.ts";
import { AddressSpace, type MovingWindow } from "../bus/address-space.ts";
import { Guarded } from "../bus/guarded.ts";
import type { IoDevice, IrqLine } from "../bus/io.ts";
import { LevelLine, LevelLineState } from "../bus/irq.ts";
import { SharedLine, SharedLineState } from "../bus/shared-line.ts";
import type { Board } from "./board.ts";
import { FIRST_MESSAGE_GSI } from "./memory-map.ts";
import type { DrivenLine, Made, Place, Plug, Slot } from "./part.ts";
import type { Ports } from "./ports.ts";
import type { MachineSpec } from "./spec.ts";

/**
 * Bytes of shared state: more than the largest machine needs. Untouched pages take
 * no memory.
 */
export const STATE_BYTES = 1 << 22;

/** Access counters by window, one array for each address space. */
export interface AccessCounts {
  readonly ports: Float64Array;
  readonly memory: Float64Array;
}

/** A part of this machine. */
export interface PartOf {
  readonly name: string;
  readonly made: Made;
  /** Its events: numbers [firstBell, endBell) of the machine's events. See Slot.bells. */
  readonly firstBell: number;
  readonly endBell: number;
}

export class Machine {
  readonly board: Board;
  readonly spec: MachineSpec;
  readonly ports: AddressSpace;
  readonly memory: AddressSpace;
  /** By name, in the order of the board's list. */
  readonly parts: ReadonlyMap<string, PartOf>;
  /** How many events its parts have reserved. */
  readonly bells: number;
  /** All its registers: what a snapshot copies. */
  readonly arena: Arena;
  readonly #devices: IoDevice[] = [];
  readonly #lines: DrivenLine[] = [];

  constructor(
    board: Board,
    spec: MachineSpec,
    arena: Arena,
    ports: Ports,
    counts: AccessCounts,
    generation?: Generation,
  ) {
    this.board = board;
    this.spec = spec;
    this.ports = new AddressSpace("ports", counts.ports, generation);
    this.memory = new AddressSpace("memory", counts.memory, generation);
    this.arena = arena;
    const assembly = new Assembly(this, arena, ports, this.#devices, this.#lines);
    this.parts = new Map(board.parts(spec).map((plug) => [plug.name, assembly.add(plug)]));
    this.bells = assembly.bells;
  }

  /** @throws {RangeError} if the machine has no such part */
  part(name: string): PartOf {
    const part = this.parts.get(name);
    if (part === undefined) throw new RangeError(`the machine has no part "${name}"`);
    return part;
  }

  /** Resets every device to its power-on state. Call it in one thread, while no other runs the machine. */
  reset(): void {
    for (const device of this.#devices) device.reset();
  }

  /** Lowers each input that the registers assert, before these are replaced. */
  lowerLines(): void {
    for (const line of this.#lines) line.lower();
  }

  /** Drives each input of the interrupt controllers that the registers assert, after these were loaded. */
  driveLines(): void {
    for (const line of this.#lines) line.drive();
  }
}

/** The resources that the parts of one machine get, one part after the other, while they are assembled. */
class Assembly {
  bells = 0;
  #messages = FIRST_MESSAGE_GSI;
  readonly #machine: Machine;
  readonly #arena: Arena;
  readonly #ports: Ports;
  readonly #devices: IoDevice[];
  readonly #lines: DrivenLine[];
  readonly #sharedLines = new Map<number, SharedLine>();

  constructor(machine: Machine, arena: Arena, ports: Ports, devices: IoDevice[], lines: DrivenLine[]) {
    this.#machine = machine;
    this.#arena = arena;
    this.#ports = ports;
    this.#devices = devices;
    this.#lines = lines;
  }

  add(plug: Plug): PartOf {
    const firstBell = this.bells;
    const made = plug.assemble(this.#slot(plug.name, plug.place));
    return { name: plug.name, made, firstBell, endBell: this.bells };
  }

  #slot(name: string, place: Place): Slot {
    const machine = this.#machine;
    const take = <const F extends Fields>(layout: Layout<F>): View<F> => this.#arena.take(layout, name);
    return {
      name,
      place,
      ports: this.#ports,
      take,
      line: (gsi = place.gsi) => this.#line(name, gsi, place.sharesLine ?? false),
      add: (chip, given) => {
        const { device, lock } = this.#guard(name, chip, given);
        for (const { space, ...window } of place.windows) machine[space].add({ name, device, ...window });
        return lock;
      },
      addHidden: (chip) => this.#guard(name, chip).lock,
      addMoving: (space, chip, where, registers, given) => {
        const { device, lock } = this.#guard(name, chip, given);
        machine[space].addMoving({ name, device, place: underLock(registers ?? lock, where) });
        return lock;
      },
      drivesLines: (line) => this.#lines.push(line),
      bells: (count) => {
        const first = this.bells;
        this.bells += count;
        return first;
      },
      messages: (count) => {
        const first = this.#messages;
        this.#messages += count;
        return first;
      },
    };
  }

  #guard(name: string, chip: IoDevice, given?: Lock): { device: IoDevice; lock: Lock } {
    const lock = given ?? this.#arena.takeLock(name);
    const device = new Guarded(chip, lock);
    this.#devices.push(device);
    return { device, lock };
  }

  #line(name: string, gsi: number | undefined, sharesLine: boolean): IrqLine {
    if (gsi === undefined) throw new RangeError(`${name}: the board gives it no interrupt line`);
    const { driveIrq } = this.#ports;
    const regs = this.#arena.take(LevelLineState, name);
    if (!sharesLine) {
      const own = new LevelLine(regs, gsi, driveIrq);
      this.#lines.push(own);
      return own;
    }
    let line = this.#sharedLines.get(gsi);
    if (line === undefined) {
      const owner = `irq${gsi}`;
      line = new SharedLine(
        this.#arena.take(SharedLineState, owner),
        this.#arena.takeLock(owner),
        gsi,
        driveIrq,
      );
      this.#sharedLines.set(gsi, line);
      this.#lines.push(line);
    }
    return line.source(regs);
  }
}

/** A register of several words is consistent only under its lock. */
function underLock(lock: Lock, place: MovingWindow["place"]): MovingWindow["place"] {
  return () => {
    lock.acquire();
    try {
      return place();
    } finally {
      lock.release();
    }
  };
}
