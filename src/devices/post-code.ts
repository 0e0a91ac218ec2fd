/**
 * Port 0x80: firmware writes its progress there (the power-on self-test codes
 * of the IBM PC AT), and Linux writes to it to pass a microsecond. The last
 * code can be read back, as from the DMA page register that a PC has there.
 */
import { layout } from "../base/layout.ts";
import type { AccessSize, IoDevice } from "../bus/io.ts";

export const POST_CODE_PORTS = 1;

export const PostCodeState = layout("post-code", 1, { code: "u8" });

type Registers = ReturnType<typeof PostCodeState.view>;

export class PostCode implements IoDevice {
  readonly #regs: Registers;

  constructor(regs: Registers) {
    this.#regs = regs;
  }

  read(_offset: number, _size: AccessSize): number {
    return this.#regs.code;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.#regs.code = value;
  }

  reset(): void {
    this.#regs.code = 0;
  }
}
