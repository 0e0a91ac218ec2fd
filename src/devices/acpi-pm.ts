/**
 * ACPI fixed hardware: the power button, the way to soft-off, the power
 * management timer, and a reset register, in one block of ports that the FADT
 * describes.
 *
 * Registers may be read and written in any width: a wider access is its bytes.
 *
 * Source: ACPI 6.4, 4.8.3 (PM1 event, control and timer registers) and 4.8.3.6
 * (reset register); bit names from there.
 *
 * Not modelled: sleep states but S5, the sleep button, GPEs, the timer's carry
 * interrupt (TMR_STS is never set), bus master status. The hardware is in ACPI
 * mode from the start: SCI_EN reads as one and there is no SMI command port.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice, IrqLine, PowerSwitch } from "../bus/io.ts";

// Offsets of the register blocks.
/** PM1a_EVT_BLK, 4 bytes: status, then enable. */
export const PM1_EVT = 0;
/** PM1a_CNT_BLK, 2 bytes. */
export const PM1_CNT = 4;
/** PM_TMR_BLK, 4 bytes, 32 bits wide (FADT flag TMR_VAL_EXT). */
export const PM_TMR = 8;
/** RESET_REG, 1 byte. */
export const RESET_REG = 12;
export const ACPI_PM_PORTS = 16;

/** RESET_VALUE: what resets the machine when written to RESET_REG. */
export const RESET_VALUE = 1;
/** SLP_TYP of the soft-off state, for the \_S5 object; firmware of a PC expects 0. */
export const SLP_TYP_S5 = 5;

const PM1_EN = PM1_EVT + 2;

const PWRBTN_STS = 0x0100;
const PWRBTN_EN = 0x0100;
const EN_MASK = 0x0721; // TMR_EN, GBL_EN, PWRBTN_EN, SLPBTN_EN, RTC_EN
const SCI_EN = 0x0001;
const CNT_STORED = 0x1c02; // SLP_TYP and BM_RLD; GBL_RLS and SLP_EN are write-only
// In the upper byte of PM1_CNT:
const SLP_TYP_SHIFT = 2;
const SLP_TYP_MASK = 0x07;
const SLP_EN = 0x20;

const TIMER_HZ = 3_579_545;

export const AcpiPmState = layout("acpi-pm", 1, {
  status: "u16",
  enable: "u16",
  control: "u16",
});

type Registers = ReturnType<typeof AcpiPmState.view>;

/** A clock that only goes forward. */
export interface MonotonicClock {
  /** Nanoseconds since some moment in the past. */
  monotonic(): number;
}

export class AcpiPm implements IoDevice {
  readonly #regs: Registers;
  readonly #sci: IrqLine;
  readonly #power: PowerSwitch;
  readonly #clock: MonotonicClock;
  readonly #softOff: number;

  /** @param softOff SLP_TYP of the soft-off state */
  constructor(
    regs: Registers,
    sci: IrqLine,
    power: PowerSwitch,
    clock: MonotonicClock,
    softOff = SLP_TYP_S5,
  ) {
    this.#regs = regs;
    this.#sci = sci;
    this.#power = power;
    this.#clock = clock;
    this.#softOff = softOff;
  }

  read(offset: number, size: AccessSize): number {
    const timer = this.#timer(); // once, so that the bytes of one access agree
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#readByte(offset + i, timer) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    this.#updateSci();
  }

  /** Presses the button: a guest that handles it shuts down. */
  pressPowerButton(): void {
    this.#regs.status |= PWRBTN_STS;
    this.#updateSci();
  }

  reset(): void {
    this.#regs.status = 0;
    this.#regs.enable = 0;
    this.#regs.control = 0;
    this.#updateSci();
  }

  #readByte(offset: number, timer: number): number {
    const regs = this.#regs;
    switch (offset) {
      case PM1_EVT:
      case PM1_EVT + 1:
        return byteOf(regs.status, offset - PM1_EVT);
      case PM1_EN:
      case PM1_EN + 1:
        return byteOf(regs.enable, offset - PM1_EN);
      case PM1_CNT:
      case PM1_CNT + 1:
        return byteOf(regs.control | SCI_EN, offset - PM1_CNT);
      case PM_TMR:
      case PM_TMR + 1:
      case PM_TMR + 2:
      case PM_TMR + 3:
        return byteOf(timer, offset - PM_TMR);
      default:
        return 0;
    }
  }

  #writeByte(offset: number, byte: number): void {
    const regs = this.#regs;
    switch (offset) {
      case PM1_EVT:
      case PM1_EVT + 1: // a one clears the event
        regs.status &= ~(byte << (8 * (offset - PM1_EVT)));
        break;
      case PM1_EN:
      case PM1_EN + 1:
        regs.enable = withByte(regs.enable, offset - PM1_EN, byte) & EN_MASK;
        break;
      case PM1_CNT:
        regs.control = withByte(regs.control, 0, byte) & CNT_STORED;
        break;
      case PM1_CNT + 1:
        regs.control = withByte(regs.control, 1, byte) & CNT_STORED;
        if (byte & SLP_EN && ((byte >> SLP_TYP_SHIFT) & SLP_TYP_MASK) === this.#softOff) this.#power.off();
        break;
      case RESET_REG:
        if (byte === RESET_VALUE) this.#power.reset();
        break;
    }
  }

  /** Exact for 104 days of nanoseconds, then still monotonic. */
  #timer(): number {
    return Math.floor((this.#clock.monotonic() * TIMER_HZ) / 1e9) >>> 0;
  }

  #updateSci(): void {
    this.#sci.set((this.#regs.status & this.#regs.enable & PWRBTN_EN) !== 0);
  }
}

function byteOf(value: number, index: number): number {
  return (value >>> (8 * index)) & 0xff;
}

function withByte(value: number, index: number, byte: number): number {
  return (value & ~(0xff << (8 * index))) | (byte << (8 * index));
}
