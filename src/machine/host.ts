/**
 * What a machine is plugged into: the wires, sinks and clocks of the thread
 * that assembles it.
 */

import type { AfterWrite, ByteSink, IoDevice, IrqPulse, Latch, PowerSwitch, Signal } from "../bus/io.ts";
import type { DriveIrq } from "../bus/irq.ts";
import type { BlkHost } from "../virtio/blk/blk-requests.ts";
import type { RngHost } from "../virtio/rng.ts";
import type { NotifyQueue } from "../virtio/transport/mmio.ts";

export interface Clock {
  /** Wall clock, ms since 1970-01-01 UTC. */
  now(): number;
  /** Nanoseconds from a start that all threads share. */
  monotonic(): number;
}

/** Ports of the serial consoles are 0 to 3; the debug console writes to this one. */
export const DEBUG_CONSOLE = 4;
export const CONSOLES = 5;

export interface Host {
  readonly driveIrq: DriveIrq;
  readonly clock: Clock;
  readonly power: PowerSwitch;
  /** Bytes that the guest sends on console `port`. */
  console(port: number): ByteSink;
  /** Raised when a full receiver of serial port `port` has room again. */
  receiverReady(port: number): Signal;
  /** The interrupt of virtio device `slot`. */
  interrupt(slot: number): IrqPulse;
  /** Notifies the I/O thread of buffers in a queue of virtio device `slot`. */
  notify(slot: number): NotifyQueue;
  /** Waits until the I/O thread has let go of the queues of virtio device `slot`. */
  queuesReset(slot: number): AfterWrite;
  /** The words from which the guest reads the registers of virtio device `slot` without an exit, if it does. */
  registerPage?(slot: number): Uint32Array | undefined;
  /** The program's own device `index`. */
  ownDevice(index: number): IoDevice;
  /** On the I/O thread: the image behind drive `index`. Elsewhere there is none. */
  disk?(index: number, name: string): BlkHost;
  /** On the I/O thread: whether the driver of virtio device `slot` acknowledged an interrupt without an exit. */
  acknowledged?(slot: number): Latch | undefined;
  /** On the I/O thread: where entropy comes from. */
  entropy?(): RngHost;
}
