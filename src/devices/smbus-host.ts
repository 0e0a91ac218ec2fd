/**
 * The SMBus host of a PIIX4, with no device on its bus: each transfer ends at
 * once with a device error. Its registers are bytes: see bus/byte-wide.ts.
 *
 * Source: Intel 82371AB (PIIX4) data sheet, 7.3.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice } from "../bus/io.ts";

const HOST_STATUS = 0;
const HOST_CONTROL = 2;
export const SMBUS_PORTS = 64;

const STORED = 16; // from HOST_CONTROL on: command, address, data
const STATUS_CLEARABLE = 0x1e;
const STATUS_DEVICE_ERROR = 0x04;
const CONTROL_START = 0x40;

export const SmbusHostState = layout("smbus-host", 1, { status: "u8", registers: { bytes: STORED } });

type Registers = ReturnType<typeof SmbusHostState.view>;

export class SmbusHost implements IoDevice {
  readonly #regs: Registers;

  constructor(regs: Registers) {
    this.#regs = regs;
  }

  read(offset: number, _size: AccessSize): number {
    const { status, registers } = this.#regs;
    if (offset === HOST_STATUS) return status;
    return offset < STORED ? registers[offset] : 0;
  }

  write(offset: number, _size: AccessSize, byte: number): void {
    const regs = this.#regs;
    if (offset === HOST_STATUS) {
      regs.status &= ~(byte & STATUS_CLEARABLE);
    } else if (offset === HOST_CONTROL) {
      regs.registers[offset] = byte & ~CONTROL_START;
      if (byte & CONTROL_START) regs.status |= STATUS_DEVICE_ERROR;
    } else if (offset < STORED) {
      regs.registers[offset] = byte;
    }
  }

  reset(): void {
    this.#regs.status = 0;
    this.#regs.registers.fill(0);
  }
}
