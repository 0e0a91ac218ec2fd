/**
 * What a board is plugged into: the lines, sinks, clocks and events of the
 * thread that assembles it. Parts are named, so that it does not grow with the
 * kinds of devices.
 */
import type { AfterWrite, ByteSink, IoDevice, IrqPulse, Latch, PowerSwitch, Signal } from "../bus/io.ts";
import type { DriveIrq } from "../bus/irq.ts";
import type { NotifyQueue } from "../virtio/transport/mmio.ts";
import type { IoSide } from "./io-side.ts";

export interface Clock {
  /** Wall clock, ms since 1970-01-01 UTC. */
  now(): number;
  /** Nanoseconds from a start that all threads share. */
  monotonic(): number;
}

export interface Ports {
  readonly clock: Clock;
  readonly power: PowerSwitch;
  /** Sets the level of an input of the interrupt controllers. */
  readonly driveIrq: DriveIrq;
  /** One interrupt: at an edge-triggered input, or the message that `gsi` is routed to. */
  pulse(gsi: number): IrqPulse;
  /** Takes the bytes that a part sends to the world outside. */
  sink(part: string): ByteSink;
  /** Says to the world outside that a part can take bytes again, or has news. */
  ready(part: string): Signal;
  /** Gives a part's task on the io thread a turn, for one of its queues. */
  notify(part: string): NotifyQueue;
  /** Waits until the io thread has done what makes `settled` true. */
  settle(settled: () => boolean): AfterWrite;
  /** Registers changed that decide where windows, memory slots, doorbells or messages are: they follow. */
  readonly moved: AfterWrite;
  /** The words that the guest reads at `address` without an exit; undefined where its reads exit. */
  shadow(address: number, length: number): Uint32Array | undefined;
  /** The event that KVM signals for a guest's write, for asking whether there was one. On the io thread alone. */
  latch(bell: number): Latch | undefined;
  /** On the io thread: what parts are served with there. */
  readonly io?: IoSide;
  /** Counters that the io thread increments and any thread may read, one for each of `fields`. */
  counters(part: string, fields: readonly string[]): Float64Array;
  /** The registers that the program itself provides, by their number among such devices. */
  own(index: number): IoDevice;
}
