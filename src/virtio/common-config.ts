/**
 * What a driver sets up through any transport: the device status, the
 * features, where the queues are, and the generation of the configuration.
 * In virtio-mmio these are registers, in virtio-pci fields of the common
 * configuration structure (4.1.4.3); a transport is a map of offsets over them.
 *
 * vCPU threads change it under the device's lock. The queues belong to the io
 * thread, which takes a copy of their configuration when the first doorbell
 * after DRIVER_OK rings. A driver may reuse the memory of its queues as soon as
 * the store that takes them away (status 0, a queue that is no longer ready) has
 * finished: such a store returns `queuesReset`, which is settled once the lock
 * is free.
 *
 * Source: VIRTIO 1.2, 2.1 (Device Status Field), 2.2 (Feature Bits), 2.4 (Device
 * Reset), 2.5 (Device Configuration Space), 3.1.1 (Driver Initialization).
 *
 * Not offered: F_RING_RESET and F_NOTIFICATION_DATA.
 */
import type { AfterWrite } from "../bus/io.ts";
import type { VirtioDevice } from "./device.ts";
import type { QueueConfig } from "./queue/split-queue.ts";
import {
  ACKNOWLEDGE,
  DEVICE_NEEDS_RESET,
  DRIVER,
  DRIVER_OK,
  F_EVENT_IDX_LOW,
  F_INDIRECT_DESC_LOW,
  F_VERSION_1_HIGH,
  FAILED,
  FEATURES_OK,
} from "./spec.ts";

/** Part of each transport's state. All zero after power-on, except that `epoch` continues. */
export interface CommonRegisters {
  status: number;
  deviceFeaturesSel: number;
  driverFeaturesSel: number;
  driverFeaturesLow: number;
  driverFeaturesHigh: number;
  /** Anything written for bits from 64 on, where nothing is offered. */
  driverFeaturesBeyond: number;
  queueSel: number;
  configGeneration: number;
  /** How often the driver took queues away. */
  epoch: number;
}

/** The fields of a queue that a driver writes while the queue is not ready. */
export type QueueField = Exclude<keyof QueueConfig, "ready">;

export class CommonConfig {
  readonly #device: VirtioDevice;
  readonly #regs: CommonRegisters;
  readonly #queues: readonly QueueConfig[];
  readonly #queuesReset: AfterWrite;

  /**
   * @param queues one for each entry of `device.queueSizes`
   * @param queuesReset waits until the io thread has closed the queues of the epoch before
   */
  constructor(
    device: VirtioDevice,
    regs: CommonRegisters,
    queues: readonly QueueConfig[],
    queuesReset: AfterWrite,
  ) {
    this.#device = device;
    this.#regs = regs;
    this.#queues = queues;
    this.#queuesReset = queuesReset;
  }

  get epoch(): number {
    return this.#regs.epoch;
  }

  get running(): boolean {
    return (this.#regs.status & (DRIVER_OK | DEVICE_NEEDS_RESET | FAILED)) === DRIVER_OK;
  }

  /** Whether the driver has set DRIVER_OK since the last reset. */
  get driverIsReady(): boolean {
    return (this.#regs.status & DRIVER_OK) !== 0;
  }

  get queues(): number {
    return this.#queues.length;
  }

  /** Word `deviceFeaturesSel` of the offered features. */
  get deviceFeatures(): number {
    const { deviceFeaturesSel } = this.#regs;
    if (deviceFeaturesSel === 0) return this.#offeredLow;
    return deviceFeaturesSel === 1 ? this.#offeredHigh : 0;
  }

  /** Word `driverFeaturesSel` of the features that the driver accepts. */
  set driverFeatures(value: number) {
    const regs = this.#regs;
    if ((regs.status & FEATURES_OK) !== 0) return;
    if (regs.driverFeaturesSel === 0) regs.driverFeaturesLow = value;
    else if (regs.driverFeaturesSel === 1) regs.driverFeaturesHigh = value;
    else regs.driverFeaturesBeyond |= value;
  }

  get driverFeaturesLow(): number {
    return this.#regs.driverFeaturesLow;
  }

  get driverFeaturesHigh(): number {
    return this.#regs.driverFeaturesHigh;
  }

  /** The largest size of the selected queue; 0 if there is none. */
  get queueSizeMax(): number {
    return this.#device.queueSizes[this.#regs.queueSel] ?? 0;
  }

  get queueReady(): number {
    return this.#queues[this.#regs.queueSel]?.ready ?? 0;
  }

  /** 0 resets the device; other values add bits, as a driver clears one only by a reset. */
  // biome-ignore lint/suspicious/noConfusingVoidType: almost no store has anything to settle
  writeStatus(value: number): AfterWrite | void {
    if (value !== 0) return this.#advance(value);
    const { driverIsReady } = this;
    this.reset();
    // Without DRIVER_OK the io thread never opened the queues: there is nothing to wait for.
    if (driverIsReady) return this.#queuesReset;
  }

  /** Writes a field of the selected queue. Nothing happens if there is no such queue, or it is ready. */
  writeQueue(field: QueueField, value: number): void {
    const queue = this.#queues[this.#regs.queueSel];
    if (queue !== undefined && queue.ready === 0) queue[field] = value;
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for writeStatus
  writeQueueReady(value: number): AfterWrite | void {
    const queue = this.#queues[this.#regs.queueSel];
    if (queue === undefined) return;
    if (queue.ready === 0) {
      queue.ready = value & 1;
    } else if (value === 0) {
      queue.ready = 0;
      if (!this.driverIsReady) return;
      this.#regs.epoch++;
      return this.#queuesReset;
    }
  }

  /** Puts all of it, and the device's own registers, in the state after power-on. */
  reset(): void {
    const regs = this.#regs;
    regs.status = 0;
    regs.deviceFeaturesSel = 0;
    regs.driverFeaturesSel = 0;
    regs.driverFeaturesLow = 0;
    regs.driverFeaturesHigh = 0;
    regs.driverFeaturesBeyond = 0;
    regs.queueSel = 0;
    regs.configGeneration = 0;
    for (const queue of this.#queues) {
      queue.ready = 0;
      queue.size = 0;
      queue.descLow = 0;
      queue.descHigh = 0;
      queue.driverLow = 0;
      queue.driverHigh = 0;
      queue.deviceLow = 0;
      queue.deviceHigh = 0;
    }
    this.#device.reset();
    regs.epoch++;
  }

  get #offeredLow(): number {
    return (this.#device.featuresLow | F_INDIRECT_DESC_LOW | F_EVENT_IDX_LOW) >>> 0;
  }

  get #offeredHigh(): number {
    return (this.#device.featuresHigh | F_VERSION_1_HIGH) >>> 0;
  }

  #advance(value: number): void {
    const regs = this.#regs;
    let status = regs.status | (value & (ACKNOWLEDGE | DRIVER | FAILED));
    if ((value & FEATURES_OK) !== 0 && ((status & FEATURES_OK) !== 0 || this.#featuresAreGood())) {
      status |= FEATURES_OK;
    }
    if ((value & DRIVER_OK) !== 0 && (status & FEATURES_OK) !== 0) status |= DRIVER_OK;
    regs.status = status;
  }

  #featuresAreGood(): boolean {
    const { driverFeaturesLow: low, driverFeaturesHigh: high, driverFeaturesBeyond: beyond } = this.#regs;
    if ((low & ~this.#offeredLow) !== 0 || (high & ~this.#offeredHigh) !== 0 || beyond !== 0) return false;
    if ((high & F_VERSION_1_HIGH) === 0) return false;
    return this.#device.negotiate(low, high);
  }
}
