/**
 * A high precision event timer: a counter of 64 bits at 100 MHz, and three timers that
 * compare with it, once or periodically.
 *
 * When a timer matches next is a register. It is compared with the clock whenever the
 * guest reads what depends on it, and by the timer task of the io thread while the
 * interrupt of a timer is enabled.
 *
 * Source: Intel, "IA-PC HPET Specification" 1.0a (2004), 2.3 (registers) and 3.2 (LegacyReplacement).
 * Names are those of <asm/hpet.h>. Identity, frequency and comparators in the past are as in QEMU
 * (hw/timer/hpet.c): a comparator that the counter has passed when it is written matches at once.
 *
 * Not modelled: delivery by messages (FSB). LegacyReplacement cuts off the i8254, and does not cut off
 * the interrupts of the CMOS clock. The timer of the io thread has a resolution of one millisecond:
 * faster periodic interrupts are lost.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice, Signal } from "../bus/io.ts";
import { NEVER } from "../bus/io-task.ts";
import type { TimedChip } from "../bus/timer-task.ts";
import type { MonotonicClock } from "./acpi-pm.ts";

const HPET_ID = 0x000;
const HPET_PERIOD = 0x004;
const HPET_CFG = 0x010;
const HPET_STATUS = 0x020;
const HPET_COUNTER = 0x0f0;
const HPET_T0 = 0x100;
const TIMER_BYTES = 0x20;
// Of each timer.
const HPET_TN_CFG = 0x00;
const HPET_TN_ROUTE = 0x04;
const HPET_TN_CMP = 0x08;

const TIMERS = 3;
/** Intel's; LegacyReplacement, a counter of 64 bits, three timers, revision 1. */
const HPET_ID_VALUE = 0x8086_a201;
const FEMTOSECONDS = 10_000_000;
const TICK_NS = 10;

const HPET_CFG_ENABLE = 0x1;
const HPET_CFG_LEGACY = 0x2;

const HPET_TN_LEVEL = 0x0002;
const HPET_TN_ENABLE = 0x0004;
const HPET_TN_PERIODIC = 0x0008;
/** Capabilities: periodic interrupts, and 64 bits. */
const HPET_TN_CAPABILITIES = 0x0030;
const HPET_TN_SETVAL = 0x0040;
const HPET_TN_32BIT = 0x0100;
const HPET_TN_ROUTE_SHIFT = 9;
const HPET_TN_ROUTE_MASK = 0x3e00;
const HPET_TN_WRITABLE =
  HPET_TN_LEVEL | HPET_TN_ENABLE | HPET_TN_PERIODIC | HPET_TN_SETVAL | HPET_TN_32BIT | HPET_TN_ROUTE_MASK;

/** LegacyReplacement, by timer; the third timer goes where its configuration says. */
const LEGACY_IRQS = [0, 8];

const WORD = 2 ** 32;
const ALL_ONES = 0xffff_ffff;
/** The high word of more ticks than the clock will have: a year. */
const FAR = 2 ** 20;
/** Of a timer that does not match: more ticks than the clock will have. */
const NO_MATCH = ALL_ONES * WORD + ALL_ONES;
const SHORTEST_WAIT_MS = 0.1;

export const HpetState = layout("hpet", 1, {
  config: "u8",
  status: "u8",
  isLatched: "u8", // the low word was read: the next read of the high one goes with it
  latchedHigh: "u32",
  counterLow: "u32", // while the counter runs: what is added to the clock
  counterHigh: "u32",
  timerConfig: { u32: TIMERS },
  comparatorLow: { u32: TIMERS },
  comparatorHigh: { u32: TIMERS },
  periodLow: { u32: TIMERS },
  periodHigh: { u32: TIMERS },
  dueLow: { u32: TIMERS }, // when it matches next, in ticks of the clock
  dueHigh: { u32: TIMERS },
  setsHigh: { bytes: TIMERS }, // SETVAL is for the high word too
  asserted: { bytes: TIMERS }, // the line that a timer asserts, plus one
});

type Registers = ReturnType<typeof HpetState.view>;

export interface HpetWires {
  readonly clock: MonotonicClock;
  /** Inputs of the I/O APIC that a timer may be routed to, as bits. */
  readonly routes: number;
  /** Drives an ISA interrupt, or an input of the I/O APIC from 16 on. */
  drive(line: number, asserted: boolean): void;
  /** An edge there. */
  pulse(line: number): void;
  /** The i8254 is cut off from its interrupt, or connected again. */
  replaceLegacy(replaced: boolean): void;
  /** Has `advance` called soon. */
  readonly timer: Signal;
}

export class Hpet implements IoDevice, TimedChip {
  readonly #regs: Registers;
  readonly #wires: HpetWires;
  // The counter, after #count.
  #low = 0;
  #high = 0;

  constructor(regs: Registers, wires: HpetWires) {
    this.#regs = regs;
    this.#wires = wires;
  }

  read(offset: number, size: AccessSize): number {
    const word = this.#readWord(offset & ~3) >>> (8 * (offset & 3));
    return size === 4 ? word : word % 2 ** (8 * size);
  }

  /** 2.3.1: registers are written as words. */
  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) return;
    const ticks = this.#ticks();
    this.#catchUp(ticks);
    if (offset >= HPET_T0) this.#writeTimer(offset - HPET_T0, value, ticks);
    else if (offset === HPET_CFG) this.#configure(value, ticks);
    else if (offset === HPET_STATUS) this.#acknowledge(value);
    else if (offset === HPET_COUNTER || offset === HPET_COUNTER + 4) this.#setCounter(offset, value, ticks);
    if (this.#nextMatch() < NO_MATCH) this.#wires.timer.raise();
  }

  advance(): number {
    const ticks = this.#ticks();
    this.#catchUp(ticks);
    const next = this.#nextMatch();
    return next < NO_MATCH ? Math.max(((next - ticks) * TICK_NS) / 1e6, SHORTEST_WAIT_MS) : NEVER;
  }

  reset(): void {
    const regs = this.#regs;
    if ((regs.config & HPET_CFG_LEGACY) !== 0) this.#wires.replaceLegacy(false);
    regs.config = 0;
    regs.status = 0;
    regs.isLatched = 0;
    regs.latchedHigh = 0;
    regs.counterLow = 0;
    regs.counterHigh = 0;
    regs.timerConfig.fill(HPET_TN_CAPABILITIES);
    regs.comparatorLow.fill(ALL_ONES);
    regs.comparatorHigh.fill(ALL_ONES);
    regs.periodLow.fill(0);
    regs.periodHigh.fill(0);
    regs.dueLow.fill(ALL_ONES);
    regs.dueHigh.fill(ALL_ONES);
    regs.setsHigh.fill(0);
    for (let n = 0; n < TIMERS; n++) this.#updateLine(n);
  }

  /** Lowers the lines that are asserted: their registers are replaced next. */
  lower(): void {
    this.#driveAsserted(false);
  }

  /** Drives them again: the interrupt controllers are new, the registers are not. */
  drive(): void {
    this.#driveAsserted(true);
  }

  #readWord(offset: number): number {
    const regs = this.#regs;
    switch (offset) {
      case HPET_ID:
        return HPET_ID_VALUE;
      case HPET_PERIOD:
        return FEMTOSECONDS;
      case HPET_CFG:
        return regs.config;
      case HPET_STATUS:
        this.#catchUp(this.#ticks());
        return regs.status;
      case HPET_COUNTER:
        this.#count(this.#ticks());
        regs.latchedHigh = this.#high;
        regs.isLatched = 1;
        return this.#low;
      case HPET_COUNTER + 4:
        this.#count(this.#ticks());
        if (regs.isLatched === 0) return this.#high;
        regs.isLatched = 0;
        return regs.latchedHigh;
      default:
        return offset >= HPET_T0 ? this.#readTimer(offset - HPET_T0) : 0;
    }
  }

  #readTimer(offset: number): number {
    const regs = this.#regs;
    const n = Math.floor(offset / TIMER_BYTES);
    if (n >= TIMERS) return 0;
    switch (offset % TIMER_BYTES) {
      case HPET_TN_CFG:
        return regs.timerConfig[n];
      case HPET_TN_ROUTE:
        return this.#wires.routes;
      case HPET_TN_CMP:
        this.#catchUp(this.#ticks());
        return regs.comparatorLow[n];
      case HPET_TN_CMP + 4:
        this.#catchUp(this.#ticks());
        return this.#is32Bit(n) ? 0 : regs.comparatorHigh[n];
      default:
        return 0; // messages
    }
  }

  #writeTimer(offset: number, value: number, ticks: number): void {
    const n = Math.floor(offset / TIMER_BYTES);
    if (n >= TIMERS) return;
    switch (offset % TIMER_BYTES) {
      case HPET_TN_CFG:
        this.#configureTimer(n, value, ticks);
        break;
      case HPET_TN_CMP:
        this.#compare(n, value, ticks);
        break;
      case HPET_TN_CMP + 4:
        this.#compareHigh(n, value, ticks);
        break;
    }
  }

  #configureTimer(n: number, value: number, ticks: number): void {
    const { timerConfig } = this.#regs;
    const before = timerConfig[n];
    let config = (value & HPET_TN_WRITABLE) | HPET_TN_CAPABILITIES;
    // 2.3.8: a route that is not possible is not taken.
    if (!this.#isRoute(config)) config = (config & ~HPET_TN_ROUTE_MASK) | (before & HPET_TN_ROUTE_MASK);
    timerConfig[n] = config;
    if ((config & HPET_TN_ENABLE) === 0) this.#regs.status &= ~(1 << n);
    if (((before ^ config) & (HPET_TN_PERIODIC | HPET_TN_32BIT)) !== 0) this.#schedule(n, ticks);
    this.#updateLine(n);
  }

  /** A periodic timer's comparator is written only after SETVAL; else the value is the period. */
  #compare(n: number, value: number, ticks: number): void {
    const regs = this.#regs;
    const sets = (regs.timerConfig[n] & HPET_TN_SETVAL) !== 0;
    const isPeriodic = (regs.timerConfig[n] & HPET_TN_PERIODIC) !== 0;
    if (!isPeriodic || sets) regs.comparatorLow[n] = value;
    if (isPeriodic) regs.periodLow[n] = value;
    regs.setsHigh[n] = sets ? 1 : 0;
    regs.timerConfig[n] &= ~HPET_TN_SETVAL;
    if (!isPeriodic || sets) this.#schedule(n, ticks, this.#is32Bit(n));
  }

  /** The high word follows the low one. */
  #compareHigh(n: number, value: number, ticks: number): void {
    const regs = this.#regs;
    const sets = regs.setsHigh[n] !== 0;
    const isPeriodic = (regs.timerConfig[n] & HPET_TN_PERIODIC) !== 0;
    if (!isPeriodic || sets) regs.comparatorHigh[n] = value;
    if (isPeriodic) regs.periodHigh[n] = value;
    regs.setsHigh[n] = 0;
    if (!isPeriodic || sets) this.#schedule(n, ticks, true);
  }

  #configure(value: number, ticks: number): void {
    const regs = this.#regs;
    const before = regs.config;
    this.#count(ticks);
    regs.config = value & (HPET_CFG_ENABLE | HPET_CFG_LEGACY);
    const changed = before ^ regs.config;
    if (changed & HPET_CFG_ENABLE) this.#storeCounter(this.#low, this.#high, ticks);
    if (changed & HPET_CFG_LEGACY) this.#wires.replaceLegacy((regs.config & HPET_CFG_LEGACY) !== 0);
    for (let n = 0; n < TIMERS; n++) {
      if (changed & HPET_CFG_ENABLE) this.#schedule(n, ticks);
      this.#updateLine(n);
    }
  }

  #acknowledge(value: number): void {
    this.#regs.status &= ~value;
    for (let n = 0; n < TIMERS; n++) this.#updateLine(n);
  }

  /** 2.3.7: it should be halted; a running one goes on from there. */
  #setCounter(offset: number, value: number, ticks: number): void {
    this.#count(ticks);
    if (offset === HPET_COUNTER) this.#storeCounter(value, this.#high, ticks);
    else this.#storeCounter(this.#low, value, ticks);
    this.#regs.isLatched = 0;
    for (let n = 0; n < TIMERS; n++) this.#schedule(n, ticks);
  }

  #ticks(): number {
    return Math.floor(this.#wires.clock.monotonic() / TICK_NS);
  }

  /** Computes the counter. */
  #count(ticks: number): void {
    const { config, counterLow, counterHigh } = this.#regs;
    const passed = (config & HPET_CFG_ENABLE) === 0 ? 0 : ticks;
    const low = counterLow + (passed % WORD);
    this.#low = low >>> 0;
    this.#high = (counterHigh + Math.floor(passed / WORD) + (low >= WORD ? 1 : 0)) >>> 0;
  }

  #storeCounter(low: number, high: number, ticks: number): void {
    const regs = this.#regs;
    const passed = (regs.config & HPET_CFG_ENABLE) === 0 ? 0 : ticks;
    const passedLow = passed % WORD;
    regs.counterLow = (low - passedLow) >>> 0;
    regs.counterHigh = (high - Math.floor(passed / WORD) - (low < passedLow ? 1 : 0)) >>> 0;
  }

  /**
   * Computes when the counter reaches the comparator.
   * @param isComplete the driver has just written the comparator, all of it: one in the past matches now
   */
  #schedule(n: number, ticks: number, isComplete = false): void {
    const regs = this.#regs;
    if ((regs.config & HPET_CFG_ENABLE) === 0) {
      this.#setDue(n, NO_MATCH);
      return;
    }
    this.#count(ticks);
    const low = (regs.comparatorLow[n] - this.#low) >>> 0;
    if (this.#is32Bit(n)) {
      const isPast = isComplete && low >> 31 !== 0;
      this.#setDue(n, isPast ? ticks : ticks + low);
      return;
    }
    const borrow = regs.comparatorLow[n] < this.#low ? 1 : 0;
    const high = regs.comparatorHigh[n] - this.#high - borrow;
    if (high < 0) this.#setDue(n, isComplete ? ticks : NO_MATCH);
    else this.#setDue(n, high < FAR ? ticks + high * WORD + low : NO_MATCH);
  }

  /** Does what is due. */
  #catchUp(ticks: number): void {
    const regs = this.#regs;
    for (let n = 0; n < TIMERS; n++) {
      const due = this.#dueOf(n);
      if (due > ticks) continue;
      const is32Bit = this.#is32Bit(n);
      const isPeriodic = (regs.timerConfig[n] & HPET_TN_PERIODIC) !== 0;
      const period = regs.periodLow[n] + (is32Bit ? 0 : regs.periodHigh[n] * WORD);
      // A counter of 32 bits comes back to the comparator of a timer that is not periodic.
      const step = isPeriodic ? period : is32Bit ? WORD : 0;
      const steps = step === 0 ? 0 : Math.floor((ticks - due) / step) + 1;
      const next = due + steps * step;
      this.#setDue(n, step > 0 && next < 2 ** 53 ? next : NO_MATCH);
      if (isPeriodic) this.#moveComparator(n, steps * step);
      this.#match(n);
    }
  }

  #moveComparator(n: number, ticks: number): void {
    const regs = this.#regs;
    const low = regs.comparatorLow[n] + (ticks % WORD);
    regs.comparatorLow[n] = low;
    regs.comparatorHigh[n] += Math.floor(ticks / WORD) + (low >= WORD ? 1 : 0);
  }

  #match(n: number): void {
    const regs = this.#regs;
    if ((regs.timerConfig[n] & HPET_TN_ENABLE) === 0) return;
    if ((regs.timerConfig[n] & HPET_TN_LEVEL) !== 0) {
      regs.status |= 1 << n;
      this.#updateLine(n);
      return;
    }
    const line = this.#lineOf(n);
    if (line >= 0) this.#wires.pulse(line);
  }

  #updateLine(n: number): void {
    const { status, config, asserted } = this.#regs;
    const isOn = (status & (1 << n)) !== 0 && (config & HPET_CFG_ENABLE) !== 0;
    const line = isOn ? this.#lineOf(n) + 1 : 0;
    if (asserted[n] === line) return;
    if (asserted[n] !== 0) this.#wires.drive(asserted[n] - 1, false);
    asserted[n] = line;
    if (line !== 0) this.#wires.drive(line - 1, true);
  }

  #driveAsserted(level: boolean): void {
    for (const line of this.#regs.asserted) if (line !== 0) this.#wires.drive(line - 1, level);
  }

  /** -1 if the timer is not routed. Input 2 of the I/O APIC is ISA interrupt 0. */
  #lineOf(n: number): number {
    const { config, timerConfig } = this.#regs;
    if ((config & HPET_CFG_LEGACY) !== 0 && n < LEGACY_IRQS.length) return LEGACY_IRQS[n];
    if (!this.#isRoute(timerConfig[n])) return -1;
    const input = routeOf(timerConfig[n]);
    return input === 2 ? 0 : input;
  }

  #isRoute(config: number): boolean {
    return ((this.#wires.routes >>> routeOf(config)) & 1) !== 0;
  }

  #is32Bit(n: number): boolean {
    return (this.#regs.timerConfig[n] & HPET_TN_32BIT) !== 0;
  }

  /** The first match that interrupts. */
  #nextMatch(): number {
    let next = NO_MATCH;
    for (let n = 0; n < TIMERS; n++) {
      if ((this.#regs.timerConfig[n] & HPET_TN_ENABLE) !== 0) next = Math.min(next, this.#dueOf(n));
    }
    return next;
  }

  #dueOf(n: number): number {
    return this.#regs.dueHigh[n] * WORD + this.#regs.dueLow[n];
  }

  #setDue(n: number, ticks: number): void {
    this.#regs.dueLow[n] = ticks === NO_MATCH ? ALL_ONES : ticks % WORD;
    this.#regs.dueHigh[n] = ticks === NO_MATCH ? ALL_ONES : Math.floor(ticks / WORD);
  }
}

function routeOf(config: number): number {
  return (config & HPET_TN_ROUTE_MASK) >> HPET_TN_ROUTE_SHIFT;
}
