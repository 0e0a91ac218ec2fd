/**
 * A transport, as the io thread and the board see it: how a driver finds the
 * device is its own affair. All but `epoch` and `doorbells` want the device's
 * lock.
 *
 * Source: VIRTIO 1.2, 2.1, 2.3, 2.4 and 4 (Virtio Transport Options).
 */

/**
 * A store of the driver that needs no answer, so that it may be an event in
 * place of an exit (KVM_IOEVENTFD).
 */
export interface Doorbell {
  /** From the start of the transport's window. */
  readonly offset: number;
  /** Bytes of the store; 0: any number. */
  readonly length: 0 | 1 | 2 | 4 | 8;
  /** The value of the store; without it, any. */
  readonly datamatch?: number;
}

/** The io thread's attention to one queue: for a notification that arrives as an exit. */
export interface NotifyQueue {
  notify(queue: number): void;
}

/** What the driver has set up, as far as the io thread asks. */
export interface DriverState {
  /** Grows, modulo 2^32, each time the driver took queues away. May be read without the lock. */
  readonly epoch: number;
  /** True while the device may use the queues: DRIVER_OK is set, and neither side has given up. */
  readonly running: boolean;
  readonly driverFeaturesLow: number;
  readonly driverFeaturesHigh: number;
}

export interface VirtioTransport {
  readonly config: DriverState;
  /** Interrupts the driver because buffers of queue `queue` were used. For the io thread. */
  usedBuffers(queue: number): void;
  /** Shows a changed device configuration, and interrupts the driver if it is ready. */
  configChanged(): void;
  /** Sets DEVICE_NEEDS_RESET: nothing is served until the driver resets the device. */
  fail(): void;
  /** By queue: the store by which the driver notifies the device of available buffers. */
  doorbells(): readonly Doorbell[];
}

/**
 * A transport whose driver acknowledges each interrupt by a store. Where that
 * store is an event, the io thread clears the interrupt's status later.
 */
export interface LateAcknowledgement {
  /** The store that acknowledges used buffers, and nothing else. */
  readonly acknowledgement: Doorbell;
  /** True while the status says that buffers were used. The io thread, which alone sets it, needs no lock to ask. */
  readonly unacknowledged: boolean;
  /** Clears the status if the driver has acknowledged. Wants the lock. */
  collectAcknowledgement(): void;
}
