/**
 * The chip of a PC's IDE controller: two channels at their old places, and a bus
 * master for both.
 *
 * Source: Intel 82371SB (PIIX3) data sheet, 2.5.
 */
import type { AccessSize, AfterWrite, IoDevice } from "../bus/io.ts";
import { DATA } from "./ata.ts";
import { BM_CHANNEL_PORTS, type Channel } from "./channel.ts";

/** Offsets of a channel's registers: the command block from here on, the control register as the ninth. */
const CHANNEL_STRIDE = 0x10;

export class PiixIde implements IoDevice {
  readonly channels: readonly Channel[];

  constructor(channels: readonly Channel[]) {
    this.channels = channels;
  }

  read(offset: number, size: AccessSize): number {
    return this.#channel(offset)?.read(offset % CHANNEL_STRIDE, size) ?? 0;
  }

  write(offset: number, size: AccessSize, value: number): AfterWrite | undefined {
    return this.#channel(offset)?.write(offset % CHANNEL_STRIDE, size, value);
  }

  readBlock(offset: number, size: AccessSize, into: Uint8Array, at: number, length: number): number {
    if (offset % CHANNEL_STRIDE !== DATA) return 0;
    return this.#channel(offset)?.readBlock(size, into, at, length) ?? 0;
  }

  writeBlock(offset: number, size: AccessSize, from: Uint8Array, at: number, length: number): number {
    if (offset % CHANNEL_STRIDE !== DATA) return 0;
    return this.#channel(offset)?.writeBlock(size, from, at, length) ?? 0;
  }

  reset(): void {
    for (const channel of this.channels) channel.powerOn();
  }

  #channel(offset: number): Channel | undefined {
    return this.channels[Math.floor(offset / CHANNEL_STRIDE)];
  }
}

/** The registers of the bus master: 8 ports of each channel. They are bytes: see bus/byte-wide.ts. */
export class BusMaster implements IoDevice {
  readonly #channels: readonly Channel[];

  constructor(channels: readonly Channel[]) {
    this.#channels = channels;
  }

  read(offset: number, _size: AccessSize): number {
    return this.#channel(offset)?.readMaster(offset % BM_CHANNEL_PORTS) ?? 0;
  }

  write(offset: number, _size: AccessSize, byte: number): AfterWrite | undefined {
    return this.#channel(offset)?.writeMaster(offset % BM_CHANNEL_PORTS, byte);
  }

  /** With its channels: see PiixIde. */
  reset(): void {}

  #channel(offset: number): Channel | undefined {
    return this.#channels[Math.floor(offset / BM_CHANNEL_PORTS)];
  }
}
