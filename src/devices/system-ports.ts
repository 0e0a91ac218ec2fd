/**
 * Ports of a PC that hold a byte each and do next to nothing here: system control
 * port A (0x92), the advanced power management ports (0xb2, 0xb3), and the
 * registers of the two 8237 DMA controllers, which have no device to serve.
 *
 * Source: Intel 82371SB (PIIX3) data sheet, 2.5 (ISA-compatible registers).
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice, PowerSwitch } from "../bus/io.ts";

const FAST_RESET = 0x01;
const A20 = 0x02;

export const PortAState = layout("system-control-port-a", 1, { value: "u8" });

/** System control port A. The A20 gate is always open; its bit is stored. */
export class PortA implements IoDevice {
  readonly #regs: ReturnType<typeof PortAState.view>;
  readonly #power: PowerSwitch;

  constructor(regs: ReturnType<typeof PortAState.view>, power: PowerSwitch) {
    this.#regs = regs;
    this.#power = power;
  }

  read(_offset: number, _size: AccessSize): number {
    return this.#regs.value;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    const isReset = (value & FAST_RESET) !== 0 && (this.#regs.value & FAST_RESET) === 0;
    this.#regs.value = value & 0xff;
    if (isReset) this.#power.reset();
  }

  reset(): void {
    this.#regs.value = A20;
  }
}

/** Offsets of the 8237s' ports in their part: controller 1, page registers, controller 2. */
export const DMA1 = 0x00;
export const DMA_PAGES = 0x10;
export const DMA2 = 0x20;
const LATCHES = 0x40;

/** Status registers: no channel has reached its count, none has a request. */
const DMA_STATUS = [DMA1 + 0x08, DMA2 + 0x10] as const;

export const LatchesState = layout("latches", 1, { bytes: { bytes: LATCHES } });

/** Bytes that are read as they were written. */
export class Latches implements IoDevice {
  readonly #regs: ReturnType<typeof LatchesState.view>;
  readonly #readAsZero: readonly number[];

  constructor(regs: ReturnType<typeof LatchesState.view>, readAsZero: readonly number[] = []) {
    this.#regs = regs;
    this.#readAsZero = readAsZero;
  }

  read(offset: number, _size: AccessSize): number {
    return this.#readAsZero.includes(offset) ? 0 : this.#regs.bytes[offset % LATCHES];
  }

  write(offset: number, _size: AccessSize, value: number): void {
    this.#regs.bytes[offset % LATCHES] = value;
  }

  reset(): void {
    this.#regs.bytes.fill(0);
  }
}

export function dmaControllers(regs: ReturnType<typeof LatchesState.view>): IoDevice {
  return new Latches(regs, DMA_STATUS);
}
