/**
 * The interrupt lines of a PC's PCI bus: four lines (PIRQA to PIRQD) that all
 * functions share, each routed to an input of the interrupt controllers by a
 * register of the ISA bridge. The system control interrupt has a route of its own
 * and shares the input with whatever is routed there.
 *
 * Lock order: a function's lock, then the router's; nothing is taken under it.
 *
 * Source: Intel 82371SB (PIIX3) data sheet, 2.1.20 (PIRQRC[A:D]).
 */
import { layout, type View } from "../base/layout.ts";
import type { Lock } from "../base/lock.ts";
import type { IrqLine } from "../bus/io.ts";
import type { DriveIrq } from "../bus/irq.ts";

export const PIRQS = 4;
/** The system control interrupt, as a line of the router. */
export const SCI = PIRQS;
const LINES = PIRQS + 1;

/** PIRQRC: interrupt routing is disabled. */
const ROUTE_DISABLED = 0x80;

const fields = {
  asserting: { u32: LINES }, // by line: sources that assert it
  routes: { bytes: LINES }, // by line: as in PIRQRC
  driven: "u32", // a bit for each input that is asserted
} as const;

export const InterruptRouterState = layout("pci-interrupt-router", 1, fields);

/** A connection to a line that can be cut: its level stays in registers of the source. */
export interface SourceState {
  asserted: number;
}

export class InterruptRouter {
  readonly #regs: View<typeof fields>;
  readonly #lock: Lock;
  readonly #drive: DriveIrq;

  constructor(regs: View<typeof fields>, lock: Lock, drive: DriveIrq) {
    this.#regs = regs;
    this.#lock = lock;
    this.#drive = drive;
  }

  /** The line that pin `pin` (1 is INTA) of device `device` is wired to on this board. */
  static lineOf(device: number, pin: number): number {
    return (device - 1 + pin - 1) & (PIRQS - 1);
  }

  /** One source of a line. @param regs set under the lock of the source */
  source(line: number, regs: SourceState): IrqLine {
    return {
      set: (asserted) => {
        const level = asserted ? 1 : 0;
        if (regs.asserted === level) return;
        regs.asserted = level;
        this.#count(line, asserted ? 1 : -1);
      },
    };
  }

  /** Routes a line. @param route as in PIRQRC */
  route(line: number, route: number): void {
    this.#lock.acquire();
    try {
      this.#regs.routes[line] = route;
      this.#update();
    } finally {
      this.#lock.release();
    }
  }

  /** Call it with the lock taken, as a chip's reset is called. @param sciInput the input of the system control interrupt */
  reset(sciInput: number): void {
    const { routes } = this.#regs;
    routes.fill(ROUTE_DISABLED);
    routes[SCI] = sciInput;
    this.#update();
  }

  /** As LevelLine.lower. */
  lower(): void {
    this.#driveAsserted(false);
  }

  /** As LevelLine.drive. */
  drive(): void {
    this.#driveAsserted(true);
  }

  #driveAsserted(level: boolean): void {
    const { driven } = this.#regs;
    for (let input = 0; input < 32; input++) if (driven & (1 << input)) this.#drive(input, level);
  }

  #count(line: number, change: 1 | -1): void {
    this.#lock.acquire();
    try {
      this.#regs.asserting[line] += change;
      this.#update();
    } finally {
      this.#lock.release();
    }
  }

  /** Call it with the lock taken: levels reach the interrupt controllers in the order of the changes. */
  #update(): void {
    const { asserting, routes, driven } = this.#regs;
    let next = 0;
    for (let line = 0; line < LINES; line++) {
      if (asserting[line] > 0 && !(routes[line] & ROUTE_DISABLED)) next |= 1 << (routes[line] & 0xf);
    }
    this.#regs.driven = next >>> 0;
    for (let changed = driven ^ next; changed !== 0; changed &= changed - 1) {
      const input = 31 - Math.clz32(changed & -changed);
      this.#drive(input, (next & (1 << input)) !== 0);
    }
  }
}
