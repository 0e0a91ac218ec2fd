/**
 * Why the card interrupts, and whether it may: causes, their mask, and the interval
 * between two interrupts, which the io thread keeps.
 *
 * The delays of single descriptors (RDTR, RADV, TIDV, TADV) are registers without
 * effect: they are shorter than a timer here is exact.
 *
 * Source: 317453, 13.4.17 to 13.4.22.
 */
import type { IrqLine } from "../bus/io.ts";
import type { E1000Registers } from "./registers.ts";

/** ITR counts in units of 256 ns. */
const ITR_UNIT_MS = 256e-6;
const ITR_MASK = 0xffff;

/** Its methods want the card's lock. */
export class Interrupts {
  readonly #regs: E1000Registers;
  readonly #line: IrqLine;

  constructor(regs: E1000Registers, line: IrqLine) {
    this.#regs = regs;
    this.#line = line;
  }

  raise(causes: number): void {
    this.#regs.icr |= causes;
    this.update();
  }

  /** Reads the causes, which acknowledges them. */
  take(): number {
    const causes = this.#regs.icr;
    this.clear(causes);
    return causes;
  }

  clear(causes: number): void {
    this.#regs.icr &= ~causes;
    this.update();
  }

  enable(causes: number): void {
    this.#regs.ims |= causes;
    this.update();
  }

  disable(causes: number): void {
    this.#regs.ims &= ~causes;
    this.update();
  }

  /** The line follows from the registers. */
  update(): void {
    this.#line.set(this.#wanted && this.#regs.throttled === 0);
  }

  get #wanted(): boolean {
    return (this.#regs.icr & this.#regs.ims) !== 0;
  }

  get intervalMs(): number {
    return (this.#regs.itr & ITR_MASK) * ITR_UNIT_MS;
  }
}

/** The io thread's interrupts, which the driver may want less often. Wants the lock as well. */
export class Throttle {
  readonly #regs: E1000Registers;
  readonly #interrupts: Interrupts;
  readonly #now: () => number;
  #last = Number.NEGATIVE_INFINITY;

  constructor(regs: E1000Registers, interrupts: Interrupts, now: () => number) {
    this.#regs = regs;
    this.#interrupts = interrupts;
    this.#now = now;
  }

  /** @returns after how many ms `expire` is to be called; 0: it need not be */
  raise(causes: number): number {
    const regs = this.#regs;
    if (causes === 0) return this.expire();
    const isNew = (regs.icr & regs.ims) === 0 && (causes & regs.ims) !== 0;
    if (isNew && regs.itr !== 0 && this.#left() > 0) regs.throttled = 1;
    else if (isNew) this.#last = this.#now();
    this.#interrupts.raise(causes);
    return regs.throttled === 0 ? 0 : this.#left();
  }

  /** The interval may have passed. @returns as `raise` */
  expire(): number {
    const left = this.#left();
    if (this.#regs.throttled === 0) return 0;
    if (left > 0) return left;
    this.release();
    return 0;
  }

  /** A delayed interrupt is not delayed any longer. */
  release(): void {
    if (this.#regs.throttled === 0) return;
    this.#regs.throttled = 0;
    this.#last = this.#now();
    this.#interrupts.update();
  }

  #left(): number {
    return Math.max(0, this.#last + this.#interrupts.intervalMs - this.#now());
  }
}
