/**
 * Lets any vCPU thread use a device that was written for one.
 *
 * Lock order: a device's lock is a leaf. Under it a device calls only wires and
 * sinks; what needs more comes back from `write` and is settled after release.
 */
import type { Lock } from "../base/lock.ts";
import type { AccessSize, IoDevice } from "./io.ts";

export class Guarded implements IoDevice {
  readonly #device: IoDevice;
  readonly #lock: Lock;

  constructor(device: IoDevice, lock: Lock) {
    this.#device = device;
    this.#lock = lock;
  }

  read(offset: number, size: AccessSize): number {
    this.#lock.acquire();
    try {
      return this.#device.read(offset, size);
    } finally {
      this.#lock.release();
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    let after: ReturnType<IoDevice["write"]>;
    this.#lock.acquire();
    try {
      after = this.#device.write(offset, size, value);
    } finally {
      this.#lock.release();
    }
    if (after !== undefined) after.settle();
  }

  readBlock(offset: number, size: AccessSize, into: Uint8Array, at: number, length: number): number {
    const device = this.#device;
    if (device.readBlock === undefined) return 0;
    this.#lock.acquire();
    try {
      return device.readBlock(offset, size, into, at, length);
    } finally {
      this.#lock.release();
    }
  }

  writeBlock(offset: number, size: AccessSize, from: Uint8Array, at: number, length: number): number {
    const device = this.#device;
    if (device.writeBlock === undefined) return 0;
    this.#lock.acquire();
    try {
      return device.writeBlock(offset, size, from, at, length);
    } finally {
      this.#lock.release();
    }
  }

  reset(): void {
    this.#lock.acquire();
    try {
      this.#device.reset();
    } finally {
      this.#lock.release();
    }
  }
}
