/**
 * Puts a chip with an 8-bit data bus on a wider one: an access of 2 or 4 bytes
 * becomes that many accesses at consecutive offsets, low byte first.
 */
import type { AccessSize, AfterWrite, IoDevice } from "./io.ts";

export class ByteWide implements IoDevice {
  readonly #chip: IoDevice;

  constructor(chip: IoDevice) {
    this.#chip = chip;
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#chip.read(offset + i, 1) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): AfterWrite | undefined {
    let after: AfterWrite | undefined;
    for (let i = 0; i < size; i++) {
      const next = this.#chip.write(offset + i, 1, (value >>> (8 * i)) & 0xff);
      if (next !== undefined) after = after === undefined ? next : inOrder(after, next);
    }
    return after;
  }

  reset(): void {
    this.#chip.reset();
  }
}

function inOrder(first: AfterWrite, second: AfterWrite): AfterWrite {
  return {
    settle() {
      first.settle();
      second.settle();
    },
  };
}
