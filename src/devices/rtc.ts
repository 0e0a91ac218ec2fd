/**
 * The interrupts of a PC's clock, on IRQ 8: periodic, alarm and update-ended. They
 * are wrapped around the registers of cmos.ts, so that a machine without them
 * loads none of this.
 *
 * What has happened is computed from the clocks whenever somebody asks: a guest
 * that reads register C, or the timer that calls `advance`. So flags are right
 * also without a timer, and there is one only while an interrupt is enabled.
 *
 * Source: Motorola MC146818A data sheet (1984): registers A to C, table 5 (rates
 * of the periodic interrupt), "Alarm bytes" (values that match always); names are
 * those of <linux/mc146818rtc.h>.
 *
 * Not modelled: phase. Periods are counted from the start of the host's clock, and
 * a new rate takes effect at the next multiple of its period. The timer of the io
 * thread has a resolution of one millisecond: faster rates lose interrupts, which
 * `slew` repeats.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice, IrqLine, Signal } from "../bus/io.ts";
import { NEVER } from "../bus/io-task.ts";
import type { TimedChip } from "../bus/timer-task.ts";
import type { MonotonicClock } from "./acpi-pm.ts";
import {
  CMOS_BYTES,
  CMOS_FIELDS,
  Cmos,
  type CmosContents,
  INDEX,
  isTime,
  RTC_REG_A,
  RTC_REG_B,
  RTC_REG_C,
  RTC_SET,
  type WallClock,
} from "./cmos.ts";

const RTC_SECONDS_ALARM = 0x01;
const RTC_MINUTES_ALARM = 0x03;
const RTC_HOURS_ALARM = 0x05;
/** An alarm byte with both bits matches always. */
const RTC_ALARM_DONT_CARE = 0xc0;

const RTC_RATE_SELECT = 0x0f; // register A
const RTC_DIV_CTL = 0x70;
const RTC_REF_CLCK_32KHZ = 0x20;
const RTC_PIE = 0x40; // register B
const RTC_AIE = 0x20;
const RTC_UIE = 0x10;
const RTC_IRQF = 0x80; // register C; its flags have the places that their enable bits have in B
const RTC_PF = 0x40;
const RTC_AF = 0x20;
const RTC_UF = 0x10;
const RTC_FLAGS = RTC_PF | RTC_AF | RTC_UF;

/** A period of the 32 768 Hz crystal. */
const TICK_NS = 1e9 / 32_768;
const SECOND_MS = 1000;
const DAY = 86_400;

/** The host's clock may be set while an alarm is waited for. */
const LONGEST_WAIT_MS = 60_000;
const SHORTEST_WAIT_MS = 0.1;
/** Lost periodic interrupts that are remembered, and those repeated in a row, as in QEMU. */
const MOST_LOST = 0xffff;
const MOST_REPEATED = 20;
/** More than the steps over hours, minutes and seconds of any alarm that a clock can show. */
const ALARM_STEPS = 256;

export const RtcState = layout("rtc", 1, {
  ...CMOS_FIELDS,
  flags: "u8", // register C without IRQF
  repeated: "u8",
  lost: "u16",
  /** Until when flags are set: seconds of the clock, ticks of the crystal. NaN after power-on. */
  secondSeen: "f64",
  tickSeen: "f64",
});

type Registers = ReturnType<typeof RtcState.view>;

export interface RtcWires {
  readonly irq: IrqLine;
  readonly clock: WallClock & MonotonicClock;
  /** Has `advance` called soon. */
  readonly timer: Signal;
  /** Repeats periodic interrupts that were lost, when the guest acknowledges one. */
  readonly slew?: boolean;
}

export class Rtc implements IoDevice, TimedChip {
  readonly #regs: Registers;
  readonly #cmos: Cmos;
  readonly #wires: RtcWires;

  /** @param contents of the RAM after power-on; the rest is zero */
  constructor(regs: Registers, wires: RtcWires, contents: CmosContents = []) {
    this.#regs = regs;
    this.#wires = wires;
    this.#cmos = new Cmos(regs, wires.clock, contents);
  }

  read(offset: number, size: AccessSize): number {
    if (offset === INDEX || this.#regs.index % CMOS_BYTES !== RTC_REG_C) return this.#cmos.read(offset, size);
    return this.#acknowledge();
  }

  write(offset: number, size: AccessSize, value: number): void {
    const index = this.#regs.index % CMOS_BYTES;
    if (offset === INDEX || !decidesInterrupts(index)) {
      this.#cmos.write(offset, size, value);
      return;
    }
    this.#catchUp();
    // Data sheet, register B: SET clears UIE.
    const clears = index === RTC_REG_B && value & RTC_SET ? RTC_UIE : 0;
    this.#cmos.write(offset, size, value & ~clears);
    // If the guest has set the time, the seconds between did not happen.
    if (isTime(index) || index === RTC_REG_B) this.#regs.secondSeen = this.#second();
    if ((this.#enabled & RTC_PIE) === 0) this.#regs.lost = 0;
    this.#updateIrq();
    if (this.#enabled !== 0) this.#wires.timer.raise();
  }

  advance(): number {
    this.#catchUp();
    this.#updateIrq();
    const enabled = this.#enabled;
    let waitMs = NEVER;
    if (enabled & RTC_PIE) waitMs = this.#untilPeriod();
    if ((enabled & (RTC_AIE | RTC_UIE)) !== 0 && !this.#set()) {
      const { timeMs } = this.#cmos;
      const second = Math.floor(timeMs / SECOND_MS);
      const next = enabled & RTC_UIE ? second + 1 : this.#nextAlarm(second);
      waitMs = Math.min(waitMs, next * SECOND_MS - timeMs, LONGEST_WAIT_MS);
    }
    return Math.max(waitMs, SHORTEST_WAIT_MS);
  }

  reset(): void {
    const regs = this.#regs;
    this.#cmos.reset();
    regs.flags = 0;
    regs.repeated = 0;
    regs.lost = 0;
    regs.secondSeen = Number.NaN;
    regs.tickSeen = Number.NaN;
    this.#updateIrq();
  }

  /** A read of register C: clears the flags, and with them the interrupt. */
  #acknowledge(): number {
    const regs = this.#regs;
    this.#catchUp();
    const flags = regs.flags & RTC_FLAGS;
    regs.flags = 0;
    this.#updateIrq();
    if (regs.lost > 0 && regs.repeated < MOST_REPEATED) {
      regs.lost--;
      regs.repeated++;
      regs.flags = RTC_PF;
      this.#updateIrq();
    }
    return flags | (flags & this.#enabled ? RTC_IRQF : 0);
  }

  /** Sets the flags of what has happened since the last call. */
  #catchUp(): void {
    const regs = this.#regs;
    const tick = Math.floor(this.#wires.clock.monotonic() / TICK_NS);
    const period = this.#period;
    const periods = period === 0 ? 0 : Math.floor(tick / period) - Math.floor(regs.tickSeen / period);
    if (periods > 0) this.#passPeriods(periods);
    regs.tickSeen = tick;

    const second = this.#second();
    const { secondSeen } = regs;
    if (second > secondSeen && !this.#set()) {
      regs.flags |= RTC_UF;
      if (this.#nextAlarm(secondSeen) <= second) regs.flags |= RTC_AF;
    }
    regs.secondSeen = second;
  }

  #passPeriods(periods: number): void {
    const regs = this.#regs;
    if (this.#wires.slew && this.#enabled & RTC_PIE) {
      const raised = regs.flags & RTC_PF ? 0 : 1;
      regs.lost = Math.min(regs.lost + periods - raised, MOST_LOST);
    }
    regs.repeated = 0;
    regs.flags |= RTC_PF;
  }

  /** The first second after `second` in which the clock shows the alarm; NEVER if it does not. */
  #nextAlarm(second: number): number {
    const { ram } = this.#regs;
    const hours = ram[RTC_HOURS_ALARM];
    const minutes = ram[RTC_MINUTES_ALARM];
    const seconds = ram[RTC_SECONDS_ALARM];
    let next = second + 1;
    for (let step = 0; step < ALARM_STEPS; step++) {
      const ofDay = ((next % DAY) + DAY) % DAY;
      if (!isAny(hours) && this.#cmos.hours(hours) !== Math.floor(ofDay / 3600))
        next += 3600 - (ofDay % 3600);
      else if (!isAny(minutes) && this.#cmos.number(minutes) !== Math.floor(ofDay / 60) % 60)
        next += 60 - (ofDay % 60);
      else if (!isAny(seconds) && this.#cmos.number(seconds) !== ofDay % 60) next++;
      else return next;
    }
    return NEVER;
  }

  #untilPeriod(): number {
    const period = this.#period;
    if (period === 0) return NEVER;
    const now = this.#wires.clock.monotonic();
    const next = (Math.floor(now / TICK_NS / period) + 1) * period * TICK_NS;
    return (next - now) / 1e6;
  }

  /** Ticks between periodic interrupts; 0 if there are none. */
  get #period(): number {
    const a = this.#regs.ram[RTC_REG_A];
    const rate = a & RTC_RATE_SELECT;
    if (rate === 0 || (a & RTC_DIV_CTL) !== RTC_REF_CLCK_32KHZ) return 0;
    return 1 << (rate <= 2 ? rate + 6 : rate - 1); // the first two repeat those of 8 and 9
  }

  #second(): number {
    return Math.floor(this.#cmos.timeMs / SECOND_MS);
  }

  get #enabled(): number {
    return this.#regs.ram[RTC_REG_B] & RTC_FLAGS;
  }

  #set(): boolean {
    return (this.#regs.ram[RTC_REG_B] & RTC_SET) !== 0;
  }

  #updateIrq(): void {
    this.#wires.irq.set((this.#regs.flags & this.#enabled) !== 0);
  }
}

function isAny(alarm: number): boolean {
  return (alarm & RTC_ALARM_DONT_CARE) === RTC_ALARM_DONT_CARE;
}

/** Whether a write of CMOS byte `index` may bring the next interrupt forward. */
function decidesInterrupts(index: number): boolean {
  return (
    index === RTC_REG_A ||
    index === RTC_REG_B ||
    index === RTC_SECONDS_ALARM ||
    index === RTC_MINUTES_ALARM ||
    index === RTC_HOURS_ALARM ||
    isTime(index)
  );
}
