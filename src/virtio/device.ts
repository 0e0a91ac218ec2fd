/**
 * What a virtio device type is to the transport in front of it and to the io
 * thread behind it.
 *
 * A device never sees a ring: it takes one checked request at a time from a
 * DeviceQueue, when it can serve it, and returns it there. It has two sides that
 * run on different threads and share only its registers:
 *
 *   vCPU threads, under the device's lock:  readConfig writeConfig negotiate reset
 *   the io thread, without the lock:        activate run poll drain resume deactivate forget
 *
 * Source: VIRTIO 1.2, 2 (Basic Facilities of a Virtio Device) and 3.1.1.
 */
import type { AccessSize } from "../bus/io.ts";
import type { Chain } from "./queue/chain.ts";

/** One queue, as the device on the io thread sees it. */
export interface DeviceQueue {
  /**
   * Fills `chain` with the next request. False if there is none, or if it is time
   * to return from `run`; requests that are left then come in the next call.
   *
   * @throws {BrokenQueue} the caller of `run` handles it
   */
  pop(chain: Chain): boolean;
  /**
   * Fills `chain` with the next request, which the device serves together with the one
   * that it popped last: the batch does not end between them. False if there is none.
   *
   * @throws {BrokenQueue} the caller of `run` handles it
   */
  popMore(chain: Chain): boolean;
  /**
   * The last `count` requests, from a `pop` on, are as if they had not been popped: the
   * device cannot serve them now.
   */
  unpop(count: number): void;
  /**
   * Fills `chain` once more with a request that was popped and not pushed, because
   * the device deferred it. False if it is time to return from `run`.
   *
   * @throws {BrokenQueue} the caller of `run` handles it
   */
  again(chain: Chain, head: number): boolean;
  /**
   * Returns a request to the driver, in any order: the device has written `written`
   * bytes at the front of its writable part. Allowed in `run`, `poll` and `drain`.
   */
  push(head: number, written: number): void;
  /** Returns `count` requests, which the driver finds together or not at all. */
  pushTogether(heads: Uint32Array, written: Uint32Array, count: number): void;
}

/** A number that the owner of the machine can read, and set where it may. */
export interface Property {
  get(): number;
  set?(value: number): void;
}

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

  /** The driver is ready; requests follow. Also called again after the io thread closed the queues without a reset. */
  activate(featuresLow: number, featuresHigh: number): void;
  /**
   * Serves requests of a queue: pops as many as it can serve now, until `pop`
   * returns false. The requests need not be finished when it returns.
   *
   * @returns after how many ms it wants to be called again although the driver
   *   offers nothing: AGAIN, a time, or NEVER. A device that waits for something
   *   else than the driver leaves the rest of its requests in the queue.
   * @throws {BrokenQueue} if a request cannot even be answered.
   */
  run(queue: DeviceQueue, index: number): number;
  /** No further request will come before `activate`; none is in flight. */
  deactivate(): void;

  // Only of devices whose requests may be in flight when `run` returns:

  /** Submits the requests that `run` began since the last call, and pushes those that are completed. */
  poll?(queues: readonly DeviceQueue[]): void;
  /** Waits until no request is in flight, and pushes all of them that it does not defer. */
  drain?(queues: readonly DeviceQueue[]): void;

  // Only of devices that defer requests:

  /** The machine continues after a pause. */
  resume?(): void;
  /** The driver took queue `index` away: the device forgets its deferred requests. */
  forget?(index: number): void;

  // Only of devices whose queues the host's kernel may serve:

  /** Whether it may serve queue `index` now. No request of that queue is in flight or deferred then. */
  leavesToKernel?(index: number): boolean;

  // Only of devices that the owner of the machine can ask or change:

  /** By name. @param changed shows the driver another configuration. Wants the device's lock, as each property does. */
  properties?(changed: () => void): Readonly<Record<string, Property>>;

  // Only of devices that store something:

  /** What the device stores has another size, in bytes. */
  resize?(size: number): void;
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
