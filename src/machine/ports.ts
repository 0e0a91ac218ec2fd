/**
 * What a machine uses of the thread that assembles it: lines, sinks, clocks and
 * events. Parts are identified by name, so that a new kind of device needs no
 * new port.
 */
import type {
  AfterWrite,
  ByteSink,
  IoDevice,
  IrqPulse,
  Latch,
  MessageSink,
  PowerSwitch,
  Signal,
} from "../bus/io.ts";
import type { DriveIrq } from "../bus/irq.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { NotifyQueue } from "../virtio/transport/transport.ts";
import type { IoSide } from "./io-side.ts";

export interface Clock {
  /** Wall clock, ms since 1970-01-01 UTC. */
  now(): number;
  /** Nanoseconds since a moment that is the same for all threads. */
  monotonic(): number;
}

export interface GuestRamPorts {
  readonly memory: GuestMemory;
  /** Marks what the part writes. */
  readonly dirty: DirtySink;
}

export interface Ports {
  readonly clock: Clock;
  readonly power: PowerSwitch;
  /** Sets the level of an input of the interrupt controllers. */
  readonly driveIrq: DriveIrq;
  /** Cuts the i8254 off from its interrupt, or connects it again: another timer is in its place. */
  replacePit(replaced: boolean): void;
  /** Raises one interrupt: at an edge-triggered input, or the message that `gsi` is routed to. */
  pulse(gsi: number): IrqPulse;
  /** Sends messages that have no route: a device reads address and data from its own registers. */
  readonly messages: MessageSink;
  /** Takes the bytes that a part sends to the outside. */
  sink(part: string): ByteSink;
  /** Notifies the outside that a part can take bytes again, or that its properties changed. */
  ready(part: string): Signal;
  /** Makes a part's task on the io thread serve one of its queues. */
  notify(part: string): NotifyQueue;
  /** Waits until the io thread has done what makes `settled` true. */
  settle(settled: () => boolean): AfterWrite;
  /** Updates windows, memory slots, doorbells and message routes after their registers changed. */
  readonly moved: AfterWrite;
  /** The words that the guest reads at `address` without an exit; undefined where reads exit. */
  shadow(address: number, length: number): Uint32Array | undefined;
  /** A memory of the board: see Board.memories. */
  boardMemory(name: string): Uint8Array | undefined;
  /** Guest RAM, for a part that reads and writes it when the guest accesses the part's registers. */
  ram?(): GuestRamPorts;
  /** The event that KVM signals for a guest's write, to check whether there was one. Only on the io thread. */
  latch(bell: number): Latch | undefined;
  /** On the io thread: what the parts use there. */
  readonly io?: IoSide;
  /** Counters that the io thread increments and any thread may read, one for each of `fields`. */
  counters(part: string, fields: readonly string[]): Float64Array;
  /** The registers that the program itself provides, by their number among such devices. */
  own(index: number): IoDevice;
}
