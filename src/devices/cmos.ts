/**
 * MC146818 real-time clock and CMOS RAM, at a PC's ports 0x70 (index) and 0x71
 * (data).
 *
 * The time is not stored: it is the host's clock plus an offset that the guest
 * changes by setting the time. While a guest has SET set, the registers do
 * not advance and take its writes; clearing SET makes them the time.
 *
 * Source: Motorola MC146818A data sheet (1984); names are those of
 * <linux/mc146818rtc.h>. The century at 0x32 is the PC's (ACPI 6.4, 5.2.9,
 * FADT field CENTURY).
 *
 * Not modelled: the NMI mask in bit 7 of the index, the square wave, daylight
 * saving, and a weekday that disagrees with the date. Alarm, periodic and
 * update-ended interrupts are in rtc.ts; without it register C reads zero. The
 * fraction of a second is always the host's. The battery is taken out at reset:
 * RAM is as after power-on and the clock shows UTC again.
 *
 * Answering matters: where nothing answers, Linux reads register A 20 000 times
 * before it gives up on the update in progress that all ones announce.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice } from "../bus/io.ts";

// Offsets in the range of ports.
export const INDEX = 0;

// Indices of CMOS bytes.
const RTC_SECONDS = 0x00;
const RTC_MINUTES = 0x02;
const RTC_HOURS = 0x04;
const RTC_DAY_OF_WEEK = 0x06;
const RTC_DAY_OF_MONTH = 0x07;
const RTC_MONTH = 0x08;
const RTC_YEAR = 0x09;
export const RTC_REG_A = 0x0a;
export const RTC_REG_B = 0x0b;
export const RTC_REG_C = 0x0c;
const RTC_REG_D = 0x0d;
/** The century register, which the FADT names. */
export const RTC_CENTURY = 0x32;

const RTC_UIP = 0x80; // register A
const RTC_REF_CLCK_32KHZ = 0x20;
const RTC_RATE_1024HZ = 0x06;
export const RTC_SET = 0x80; // register B
const RTC_DM_BINARY = 0x04;
const RTC_24H = 0x02;
const RTC_VRT = 0x80; // register D: the battery is good
const HOURS_PM = 0x80;

export const CMOS_BYTES = 128;
const SECOND = 1000;
const UPDATE_AHEAD_MS = 1; // the chip: 244 us; a clock in ms can promise no less than 1

export const CMOS_PORTS = 2;

export const CMOS_FIELDS = {
  offsetMs: "f64", // guest's time minus the host's, whole seconds
  index: "u8",
  ram: { bytes: CMOS_BYTES }, // the time registers contain the time only while SET is set
} as const;

export const CmosState = layout("cmos", 1, CMOS_FIELDS);

type Registers = ReturnType<typeof CmosState.view>;

/** Bytes by index. */
export type CmosContents = readonly (readonly [index: number, byte: number])[];

/** The host's clock. */
export interface WallClock {
  /** Milliseconds since 1970-01-01 UTC. */
  now(): number;
}

export class Cmos implements IoDevice {
  readonly #regs: Registers;
  readonly #clock: WallClock;
  readonly #contents: CmosContents;

  /** @param contents of the RAM after power-on; the rest is zero */
  constructor(regs: Registers, clock: WallClock, contents: CmosContents = []) {
    this.#regs = regs;
    this.#clock = clock;
    this.#contents = contents;
  }

  read(offset: number, _size: AccessSize): number {
    return offset === INDEX ? 0xff : this.#readByte(this.#regs.index % CMOS_BYTES);
  }

  write(offset: number, _size: AccessSize, value: number): void {
    if (offset === INDEX) this.#regs.index = value % CMOS_BYTES;
    else this.#writeByte(this.#regs.index % CMOS_BYTES, value & 0xff);
  }

  reset(): void {
    const { ram } = this.#regs;
    this.#regs.offsetMs = 0;
    this.#regs.index = 0;
    ram.fill(0);
    for (const [index, byte] of this.#contents) ram[index] = byte;
    ram[RTC_REG_A] = RTC_REF_CLCK_32KHZ | RTC_RATE_1024HZ;
    ram[RTC_REG_B] = RTC_24H;
  }

  /** The time that the clock shows, in ms since 1970-01-01, as if that were UTC. */
  get timeMs(): number {
    return this.#clock.now() + this.#regs.offsetMs;
  }

  #readByte(index: number): number {
    const { ram } = this.#regs;
    switch (index) {
      case RTC_REG_A:
        return ram[RTC_REG_A] | (this.#updateInProgress() ? RTC_UIP : 0);
      case RTC_REG_C:
        return 0;
      case RTC_REG_D:
        return RTC_VRT;
      default:
        return isTime(index) && !this.#set() ? this.#timeByte(index, this.#now()) : ram[index];
    }
  }

  #writeByte(index: number, value: number): void {
    const { ram } = this.#regs;
    switch (index) {
      case RTC_REG_A:
        ram[RTC_REG_A] = value & ~RTC_UIP;
        break;
      case RTC_REG_B:
        this.#control(value);
        break;
      case RTC_REG_C:
      case RTC_REG_D:
        break;
      default:
        if (isTime(index) && !this.#set()) {
          this.#holdTime();
          ram[index] = value;
          this.#letTimeRun();
        } else {
          ram[index] = value;
        }
    }
  }

  #control(value: number): void {
    const wasSet = this.#set();
    if (!wasSet && value & RTC_SET) this.#holdTime();
    this.#regs.ram[RTC_REG_B] = value;
    if (wasSet && !this.#set()) this.#letTimeRun();
  }

  /** Puts the running time into the registers. */
  #holdTime(): void {
    const now = this.#now();
    for (let index = 0; index < CMOS_BYTES; index++) {
      if (isTime(index)) this.#regs.ram[index] = this.#timeByte(index, now);
    }
  }

  /** Makes the registers the running time. Impossible dates become the possible ones that they overflow into. */
  #letTimeRun(): void {
    const { ram } = this.#regs;
    const date = new Date(0);
    const year = this.number(ram[RTC_CENTURY]) * 100 + this.number(ram[RTC_YEAR]);
    date.setUTCFullYear(year, this.number(ram[RTC_MONTH]) - 1, this.number(ram[RTC_DAY_OF_MONTH]));
    date.setUTCHours(
      this.hours(ram[RTC_HOURS]),
      this.number(ram[RTC_MINUTES]),
      this.number(ram[RTC_SECONDS]),
    );
    this.#regs.offsetMs = date.getTime() - Math.floor(this.#clock.now() / SECOND) * SECOND;
  }

  #timeByte(index: number, now: Date): number {
    switch (index) {
      case RTC_SECONDS:
        return this.#encode(now.getUTCSeconds());
      case RTC_MINUTES:
        return this.#encode(now.getUTCMinutes());
      case RTC_HOURS:
        return this.#encodeHours(now.getUTCHours());
      case RTC_DAY_OF_WEEK:
        return this.#encode(now.getUTCDay() + 1); // Sunday is 1
      case RTC_DAY_OF_MONTH:
        return this.#encode(now.getUTCDate());
      case RTC_MONTH:
        return this.#encode(now.getUTCMonth() + 1);
      case RTC_YEAR:
        return this.#encode(now.getUTCFullYear() % 100);
      default:
        return this.#encode(Math.floor(now.getUTCFullYear() / 100));
    }
  }

  #encodeHours(hours: number): number {
    if (this.#is24Hour()) return this.#encode(hours);
    return this.#encode(hours % 12 || 12) | (hours >= 12 ? HOURS_PM : 0);
  }

  /** What an hour register says: 0 to 23, if it is a valid one. */
  hours(byte: number): number {
    if (this.#is24Hour()) return this.number(byte);
    return (this.number(byte & ~HOURS_PM) % 12) + (byte & HOURS_PM ? 12 : 0);
  }

  #encode(value: number): number {
    return this.#isBinary() ? value & 0xff : (Math.floor(value / 10) << 4) | (value % 10);
  }

  /** What any other register of the time says. */
  number(byte: number): number {
    return this.#isBinary() ? byte : (byte >> 4) * 10 + (byte & 0x0f);
  }

  #isBinary(): boolean {
    return (this.#regs.ram[RTC_REG_B] & RTC_DM_BINARY) !== 0;
  }

  #is24Hour(): boolean {
    return (this.#regs.ram[RTC_REG_B] & RTC_24H) !== 0;
  }

  #set(): boolean {
    return (this.#regs.ram[RTC_REG_B] & RTC_SET) !== 0;
  }

  #now(): Date {
    return new Date(this.timeMs);
  }

  /** True just before a second ends, so a guest that reads false can read a consistent time. */
  #updateInProgress(): boolean {
    return !this.#set() && Math.floor(this.#clock.now()) % SECOND >= SECOND - UPDATE_AHEAD_MS;
  }
}

/** Whether CMOS byte `index` is a register of the time. */
export function isTime(index: number): boolean {
  switch (index) {
    case RTC_SECONDS:
    case RTC_MINUTES:
    case RTC_HOURS:
    case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH:
    case RTC_MONTH:
    case RTC_YEAR:
    case RTC_CENTURY:
      return true;
    default:
      return false;
  }
}
