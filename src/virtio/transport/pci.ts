/**
 * virtio over PCI, the modern interface: maps of registers over what the driver
 * sets up (common-config.ts) and the device's interrupts (pci-interrupts.ts). A
 * transitional device also has the legacy interface (pci-legacy.ts), over the same
 * registers; a driver uses one of them.
 *
 * Source: VIRTIO 1.2, 4.1 (Virtio Over PCI Bus).
 *
 * Not offered: shared memory regions and the vendor's data capability.
 */
import { layout } from "../../base/layout.ts";
import type { AccessSize, AfterWrite, IoDevice } from "../../bus/io.ts";
import { CommonConfig, type QueueField } from "../common-config.ts";
import type { VirtioDevice } from "../device.ts";
import type { QueueConfig } from "../queue/split-queue.ts";
import { DEVICE_NEEDS_RESET } from "../spec.ts";
import type { PciInterrupts } from "./pci-interrupts.ts";
import * as pci from "./pci-registers.ts";
import type { Doorbell, NotifyQueue, VirtioTransport } from "./transport.ts";

/** CommonRegisters, and the transport's own. All zero after power-on, except that `epoch` continues. */
export const VirtioPciState = layout("virtio-pci", 1, {
  status: "u32",
  deviceFeaturesSel: "u32",
  driverFeaturesSel: "u32",
  driverFeaturesLow: "u32",
  driverFeaturesHigh: "u32",
  driverFeaturesBeyond: "u32",
  queueSel: "u32",
  configGeneration: "u32",
  epoch: "u32",
  legacy: "u32", // 1: the driver uses the legacy interface
  legacyStatus: "u32", // what it wrote to the status there
});
export type PciRegisters = ReturnType<typeof VirtioPciState.view>;

export interface PciWiring {
  readonly interrupts: PciInterrupts;
  /** Notifies the io thread of a notification that was an exit. */
  readonly notify: NotifyQueue;
  /** Waits until the io thread has closed the queues of the epoch before. */
  readonly queuesReset: AfterWrite;
}

/** Where a queue is, by offset: 64-bit fields, of which a driver writes each half by itself. */
const QUEUE_ADDRESSES: ReadonlyMap<number, QueueField> = new Map([
  [pci.QUEUE_DESC, "descLow"],
  [pci.QUEUE_DESC + 4, "descHigh"],
  [pci.QUEUE_DRIVER, "driverLow"],
  [pci.QUEUE_DRIVER + 4, "driverHigh"],
  [pci.QUEUE_DEVICE, "deviceLow"],
  [pci.QUEUE_DEVICE + 4, "deviceHigh"],
]);

export class VirtioPci implements IoDevice, VirtioTransport {
  readonly config: CommonConfig;
  readonly #device: VirtioDevice;
  readonly #regs: PciRegisters;
  readonly #queues: readonly QueueConfig[];
  readonly #wiring: PciWiring;

  /** @param queues one for each entry of `device.queueSizes` */
  constructor(device: VirtioDevice, regs: PciRegisters, queues: readonly QueueConfig[], wiring: PciWiring) {
    this.#device = device;
    this.#regs = regs;
    this.#queues = queues;
    this.#wiring = wiring;
    this.config = new CommonConfig(device, regs, queues, wiring.queuesReset);
  }

  /** @param offset in the BAR of the modern interface */
  read(offset: number, size: AccessSize): number {
    // The one register that a read changes.
    if (offset === pci.ISR_WINDOW) return this.#wiring.interrupts.takeIsr();
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#byte(offset + i) << (8 * i);
    return value >>> 0;
  }

  /** 4.1.3.1: a driver writes a field by one access of its width, 64 bits by two. Others do nothing. */
  // biome-ignore lint/suspicious/noConfusingVoidType: almost no register has anything to settle
  write(offset: number, size: AccessSize, value: number): AfterWrite | void {
    if (offset < pci.ISR_WINDOW) return this.#writeCommon(offset, size, value);
    if (offset >= pci.NOTIFY_WINDOW) {
      const queue = Math.floor((offset - pci.NOTIFY_WINDOW) / pci.NOTIFY_STRIDE);
      if (queue < this.#queues.length) this.#wiring.notify.notify(queue);
    } else if (offset >= pci.DEVICE_WINDOW) {
      this.#device.writeConfig(offset - pci.DEVICE_WINDOW, size, value);
    }
  }

  reset(): void {
    this.#regs.legacy = 0;
    this.#regs.legacyStatus = 0;
    this.config.reset();
    this.#wiring.interrupts.reset();
  }

  /** A driver's reset, through either interface. */
  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  resetByDriver(): AfterWrite | void {
    const after = this.config.writeStatus(0);
    this.#regs.legacy = 0;
    this.#regs.legacyStatus = 0;
    this.#wiring.interrupts.reset();
    return after;
  }

  usedBuffers(queue: number): void {
    this.#wiring.interrupts.usedBuffers(queue);
  }

  configChanged(): void {
    // The driver reads the configuration under the same lock, so one step is enough.
    this.#regs.configGeneration++;
    if (this.config.running) this.#wiring.interrupts.configChanged();
  }

  fail(): void {
    this.#regs.status |= DEVICE_NEEDS_RESET;
    // 2.1.2: a driver that has not set DRIVER_OK is not interrupted.
    if (this.config.driverIsReady) this.#wiring.interrupts.configChanged();
  }

  /** Of the modern interface, from the start of its BAR. Any width: KVM then need not decode the instruction. */
  doorbells(): readonly Doorbell[] {
    return this.#queues.map((_, queue) => ({
      offset: pci.NOTIFY_WINDOW + queue * pci.NOTIFY_STRIDE,
      length: 0,
    }));
  }

  #byte(offset: number): number {
    if (offset < pci.ISR_WINDOW) return (this.#word(offset & ~3) >>> (8 * (offset & 3))) & 0xff;
    if (offset < pci.DEVICE_WINDOW || offset >= pci.NOTIFY_WINDOW) return 0;
    return this.#device.readConfig(offset - pci.DEVICE_WINDOW);
  }

  /** 32 bits of the common configuration structure. */
  #word(offset: number): number {
    const regs = this.#regs;
    const { config } = this;
    const { interrupts } = this.#wiring;
    const { queueSel } = regs;
    switch (offset) {
      case pci.DEVICE_FEATURE_SELECT:
        return regs.deviceFeaturesSel;
      case pci.DEVICE_FEATURE:
        return config.deviceFeatures;
      case pci.DRIVER_FEATURE_SELECT:
        return regs.driverFeaturesSel;
      case pci.DRIVER_FEATURE:
        return [regs.driverFeaturesLow, regs.driverFeaturesHigh][regs.driverFeaturesSel] ?? 0;
      case pci.CONFIG_MSIX_VECTOR: // and num_queues
        return interrupts.configVector | (config.queues << 16);
      case pci.DEVICE_STATUS: // and config_generation, queue_select
        return regs.status | ((regs.configGeneration & 0xff) << 8) | (queueSel << 16);
      case pci.QUEUE_SIZE: // and queue_msix_vector
        return this.#queueSize | (interrupts.queueVector(queueSel) << 16);
      case pci.QUEUE_ENABLE: // and queue_notify_off
        return config.queueReady | ((queueSel < this.#queues.length ? queueSel : 0) << 16);
      default: {
        const field = QUEUE_ADDRESSES.get(offset);
        return (field && this.#queues[queueSel]?.[field]) ?? 0;
      }
    }
  }

  get #queueSize(): number {
    const size = this.#queues[this.#regs.queueSel]?.size ?? 0;
    return size === 0 ? this.config.queueSizeMax : size;
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #writeCommon(offset: number, size: AccessSize, value: number): AfterWrite | void {
    if (size === 4) return this.#writeWord(offset, value);
    if (size === 1) {
      if (offset !== pci.DEVICE_STATUS) return;
      return value === 0 ? this.resetByDriver() : this.config.writeStatus(value);
    }
    const regs = this.#regs;
    const { interrupts } = this.#wiring;
    switch (offset) {
      case pci.CONFIG_MSIX_VECTOR:
        interrupts.configVector = value;
        break;
      case pci.QUEUE_SELECT:
        regs.queueSel = value;
        break;
      case pci.QUEUE_SIZE:
        this.config.writeQueue("size", value);
        break;
      case pci.QUEUE_MSIX_VECTOR:
        interrupts.setQueueVector(regs.queueSel, value);
        break;
      case pci.QUEUE_ENABLE:
        // 4.1.4.3.2: a driver does not write 0. It takes queues away by a reset.
        if (value !== 1) break;
        this.config.writeQueue("size", this.#queueSize);
        this.config.writeQueueReady(1);
        break;
    }
  }

  #writeWord(offset: number, value: number): void {
    const regs = this.#regs;
    const { config } = this;
    switch (offset) {
      case pci.DEVICE_FEATURE_SELECT:
        regs.deviceFeaturesSel = value;
        break;
      case pci.DRIVER_FEATURE_SELECT:
        regs.driverFeaturesSel = value;
        break;
      case pci.DRIVER_FEATURE:
        config.driverFeatures = value;
        break;
      default: {
        const field = QUEUE_ADDRESSES.get(offset);
        if (field !== undefined) config.writeQueue(field, value);
      }
    }
  }
}
