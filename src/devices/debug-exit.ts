/**
 * Lets a test guest end the machine with a status.
 *
 * Source: QEMU's isa-debug-exit (hw/misc/debugexit.c): a write of `value` ends
 * the monitor with status (value << 1) | 1, of which a process keeps eight
 * bits. So a guest cannot end with 0, which means that it powered off.
 */
import type { AccessSize, IoDevice, PowerSwitch } from "../bus/io.ts";

/** As with QEMU's usual `iosize=4`. */
export const DEBUG_EXIT_PORTS = 4;

export class DebugExit implements IoDevice {
  readonly #power: PowerSwitch;

  constructor(power: PowerSwitch) {
    this.#power = power;
  }

  read(_offset: number, _size: AccessSize): number {
    return 0;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.#power.exit(((value << 1) | 1) & 0xff);
  }

  /** It has no registers. */
  reset(): void {}
}
