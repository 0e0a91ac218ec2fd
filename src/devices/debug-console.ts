/**
 * The one-port console of Bochs and QEMU (port 0xe9; OVMF uses 0x402): each
 * byte written is printed, without any set-up.
 *
 * Source: QEMU's isa-debugcon (hw/char/debugcon.c). Reading gives 0xe9, by
 * which a guest finds out that the console is there.
 */
import type { AccessSize, ByteSink, IoDevice } from "../bus/io.ts";

export const DEBUG_CONSOLE_PORTS = 1;

const READBACK = 0xe9;

export class DebugConsole implements IoDevice {
  readonly #tx: ByteSink;

  constructor(tx: ByteSink) {
    this.#tx = tx;
  }

  read(_offset: number, _size: AccessSize): number {
    return READBACK;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.#tx.put(value & 0xff);
  }

  /** It has no registers. */
  reset(): void {}
}
