/**
 * What a virtio device type is to the transport in front of it and to the io
 * thread behind it, and what the transport is to the io thread.
 *
 * A device never sees a ring: it gets one checked request at a time. It has two
 * sides that run on different threads and share only its registers:
 *
 *   vCPU threads, under the device's lock:  readConfig writeConfig negotiate reset
 *   the io thread, without the lock:        activate serve poll drain resume deactivate
 *
 * Source: VIRTIO 1.2, 2 (Basic Facilities of a Virtio Device) and 3.1.1.
 */
import type { AccessSize } from "../bus/io.ts";
import type { Chain } from "./queue/chain.ts";

/** What `serve` returns when the answer comes later, through `poll` or `drain`. */
export const PENDING = -1;
/** In place of an answer: the request cannot be served now, and is to be offered to `serve` again. */
export const HOLD = -2;

/** Gives a pending request back: `written` is what `serve` would have returned. */
export type Complete = (queue: number, head: number, written: number) => void;

export interface VirtioDevice {
  /** VIRTIO 1.2, section 5. */
  readonly deviceId: number;
  /** Feature bits of the device type; those of the ring are the transport's. Bits 0 to 31, and 32 to 63. */
  readonly featuresLow: number;
  readonly featuresHigh: number;
  /** The largest size of each queue, in descriptors: a power of two. Its length is the number of queues. */
  readonly queueSizes: readonly number[];
  /** Bytes of configuration, at most 256. */
  readonly configSize: number;

  /** A byte of the configuration, `offset` from its start; beyond its end 0. */
  readConfig(offset: number): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  /** The driver has chosen among the offered features. False refuses the combination. */
  negotiate(featuresLow: number, featuresHigh: number): boolean;
  /** Puts the registers in the state they have after power-on. */
  reset(): void;

  /** The driver is ready; requests follow. Also called again after the io thread let go without a reset. */
  activate(featuresLow: number, featuresHigh: number): void;
  /**
   * Serves one request. Returns how many bytes it wrote at the front of the
   * chain's writable part, or PENDING, or HOLD.
   *
   * @throws {BrokenQueue} if the request cannot even be answered.
   */
  serve(queue: number, chain: Chain): number;
  /** No further request will come before `activate`; none is pending. */
  deactivate(): void;

  // Only of devices whose answers may be PENDING or HOLD:

  /** How long no request can be served, in ms: 0 means now, Infinity not before `resume`. */
  readonly waitMs?: number;
  /** Begins what `serve` left pending since the last call, and gives back what is over. Called after each batch. */
  poll?(complete: Complete): void;
  /** Waits until nothing is pending, and gives all of it back. */
  drain?(complete: Complete): void;
  /** The machine goes on after it stood still. */
  resume?(): void;
}

/** What the io thread needs of a transport. All but `epoch` want the device's lock held. */
export interface VirtioTransport {
  /** Grows, modulo 2^32, each time the driver took queues away. May be read without the lock. */
  readonly epoch: number;
  /** True while the device may touch the queues: DRIVER_OK is set, and neither it nor the driver has given up. */
  readonly running: boolean;
  readonly driverFeaturesLow: number;
  readonly driverFeaturesHigh: number;
  /** Interrupts the driver because buffers were used. For the io thread. */
  raiseUsed(): void;
  /** The device's configuration changed: shows it to the driver, and interrupts it if it is there. */
  configChanged(): void;
  /** Sets DEVICE_NEEDS_RESET: nothing is served until the driver resets the device. */
  fail(): void;
}

/** Something that the user of the virtual machine should know about a device. */
export interface DeviceReport {
  readonly device: string;
  /**
   * EQUEUE: the driver broke a queue. EIO: the host could not do what a request
   * asked. ESTOP: the same, and the request waits until the machine was paused and
   * resumed. NOTE: nothing is wrong, but not as it was asked for.
   */
  readonly code: "EQUEUE" | "EIO" | "ESTOP" | "NOTE";
  readonly message: string;
}

export type ReportDevice = (report: DeviceReport) => void;
