/**
 * The legacy interface of a transitional device: one window of I/O ports, a queue
 * whose place is the number of a page, features of 32 bits, no FEATURES_OK. Linux
 * before 4.0 knows nothing else, and SeaBIOS before 1.9.
 *
 * A legacy driver may use its queues before it sets DRIVER_OK (3.1.2): the virtio_blk
 * of Linux 3.2 reads the partition table first. So here the first queue makes the
 * device as ready as DRIVER_OK does.
 *
 * Source: VIRTIO 1.2, 4.1.4.10 (Legacy Interfaces: A Note on PCI Device Layout), 2.7.2
 * (Legacy Interfaces: A Note on Virtqueue Layout).
 */
import type { AccessSize, AfterWrite, IoDevice } from "../../bus/io.ts";
import type { VirtioDevice } from "../device.ts";
import type { QueueConfig } from "../queue/split-queue.ts";
import {
  ACKNOWLEDGE,
  DESC_BYTES,
  DRIVER,
  DRIVER_OK,
  F_ANY_LAYOUT_LOW,
  F_EVENT_IDX_LOW,
  F_INDIRECT_DESC_LOW,
  FAILED,
  FEATURES_OK,
} from "../spec.ts";
import type { PciRegisters, PciWiring, VirtioPci } from "./pci.ts";
import * as pci from "./pci-registers.ts";
import type { Doorbell } from "./transport.ts";

export interface LegacyWiring extends PciWiring {
  /** The doorbells are those of the other interface now. */
  readonly moved: AfterWrite;
}

export class VirtioPciLegacy implements IoDevice {
  readonly #device: VirtioDevice;
  readonly #transport: VirtioPci;
  readonly #regs: PciRegisters;
  readonly #queues: readonly QueueConfig[];
  readonly #wiring: LegacyWiring;

  /** @param transport over the same registers and queues */
  constructor(
    device: VirtioDevice,
    transport: VirtioPci,
    regs: PciRegisters,
    queues: readonly QueueConfig[],
    wiring: LegacyWiring,
  ) {
    this.#device = device;
    this.#transport = transport;
    this.#regs = regs;
    this.#queues = queues;
    this.#wiring = wiring;
  }

  /** True while the driver uses this interface. */
  get inUse(): boolean {
    return this.#regs.legacy !== 0;
  }

  read(offset: number, size: AccessSize): number {
    if (offset === pci.LEGACY_ISR_STATUS && size === 1) return this.#wiring.interrupts.takeIsr();
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.#byte(offset + i) << (8 * i);
    return value >>> 0;
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: almost no register has anything to settle
  write(offset: number, size: AccessSize, value: number): AfterWrite | void {
    const { legacy } = this.#regs;
    const after = this.#write(offset, size, value);
    if (this.#regs.legacy === legacy) return after;
    const { moved } = this.#wiring;
    return {
      settle() {
        after?.settle();
        moved.settle();
      },
    };
  }

  /** The transport resets the registers of both interfaces. */
  reset(): void {}

  /** By queue, from the start of the window. */
  doorbells(): readonly Doorbell[] {
    return this.#queues.map((_, queue) => ({
      offset: pci.LEGACY_QUEUE_NOTIFY,
      length: 2,
      datamatch: queue,
    }));
  }

  /** Offset of the device's configuration, which moves when MSI-X is switched on. */
  get #config(): number {
    const { areMessages } = this.#wiring.interrupts;
    return pci.LEGACY_CONFIG_VECTOR + (areMessages ? pci.LEGACY_VECTOR_BYTES : 0);
  }

  get #features(): number {
    return (this.#device.featuresLow | F_INDIRECT_DESC_LOW | F_EVENT_IDX_LOW | F_ANY_LAYOUT_LOW) >>> 0;
  }

  #byte(offset: number): number {
    const config = this.#config;
    if (offset >= config) return this.#device.readConfig(offset - config);
    return (this.#word(offset & ~3) >>> (8 * (offset & 3))) & 0xff;
  }

  #word(offset: number): number {
    const regs = this.#regs;
    const { interrupts } = this.#wiring;
    const queue = this.#queues[regs.queueSel];
    switch (offset) {
      case pci.LEGACY_DEVICE_FEATURES:
        return this.#features;
      case pci.LEGACY_DRIVER_FEATURES:
        return regs.driverFeaturesLow;
      case pci.LEGACY_QUEUE_ADDRESS:
        if (queue === undefined || queue.ready === 0) return 0;
        return (queue.descHigh * 2 ** 32 + queue.descLow) / pci.LEGACY_PAGE;
      case pci.LEGACY_QUEUE_SIZE: // and queue select
        return this.#transport.config.queueSizeMax | (regs.queueSel << 16);
      case pci.LEGACY_QUEUE_NOTIFY: // reads as 0; and device status
        return regs.legacyStatus << 16;
      default: // the vectors
        return interrupts.configVector | (interrupts.queueVector(regs.queueSel) << 16);
    }
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #write(offset: number, size: AccessSize, value: number): AfterWrite | void {
    const config = this.#config;
    if (offset >= config) {
      this.#device.writeConfig(offset - config, size, value);
      return;
    }
    if (size === 1) return offset === pci.LEGACY_DEVICE_STATUS ? this.#writeStatus(value) : undefined;
    if (size === 2) return this.#writeHalf(offset, value);
    if (offset === pci.LEGACY_DRIVER_FEATURES) this.#accept(value);
    else if (offset === pci.LEGACY_QUEUE_ADDRESS) return this.#placeQueue(value);
  }

  #writeHalf(offset: number, value: number): void {
    const regs = this.#regs;
    const { interrupts, notify } = this.#wiring;
    switch (offset) {
      case pci.LEGACY_QUEUE_SELECT:
        regs.queueSel = value;
        break;
      case pci.LEGACY_QUEUE_NOTIFY:
        if (value < this.#queues.length) notify.notify(value);
        break;
      case pci.LEGACY_CONFIG_VECTOR:
        interrupts.configVector = value;
        break;
      case pci.LEGACY_QUEUE_VECTOR:
        interrupts.setQueueVector(regs.queueSel, value);
        break;
    }
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #writeStatus(value: number): AfterWrite | void {
    if (value === 0) return this.#transport.resetByDriver();
    const regs = this.#regs;
    this.#begin();
    regs.legacyStatus = value;
    if ((value & DRIVER_OK) !== 0) this.#ready();
    if ((value & FAILED) !== 0) regs.status |= FAILED;
  }

  /** There is no FEATURES_OK to refuse by: bits that were not offered are left out. */
  #accept(features: number): void {
    const regs = this.#regs;
    regs.legacy = 1;
    regs.driverFeaturesLow = (features & this.#features) >>> 0;
    regs.driverFeaturesHigh = 0;
    this.#device.negotiate(regs.driverFeaturesLow, 0);
  }

  /** Until the driver writes features, which it need not, it has chosen none: not even VERSION_1. */
  #begin(): void {
    if (this.#regs.legacy === 0) this.#accept(0);
  }

  /** Places the selected queue in the page of that number and those after it; 0 takes the queue away. */
  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #placeQueue(page: number): AfterWrite | void {
    const { config } = this.#transport;
    if (page === 0) return config.writeQueueReady(0);
    this.#begin();
    const size = config.queueSizeMax;
    const desc = page * pci.LEGACY_PAGE;
    const driver = desc + DESC_BYTES * size;
    // The available ring ends with used_event.
    const device = Math.ceil((driver + 6 + 2 * size) / pci.LEGACY_PAGE) * pci.LEGACY_PAGE;
    config.writeQueue("size", size);
    config.writeQueue("descLow", low(desc));
    config.writeQueue("descHigh", high(desc));
    config.writeQueue("driverLow", low(driver));
    config.writeQueue("driverHigh", high(driver));
    config.writeQueue("deviceLow", low(device));
    config.writeQueue("deviceHigh", high(device));
    config.writeQueueReady(1);
    this.#ready();
  }

  #ready(): void {
    this.#regs.status |= ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
  }
}

/** Ports of the window, with `configSize` bytes of the device's configuration: a power of two. */
export function legacyBytes(configSize: number): number {
  return 2 ** Math.ceil(Math.log2(pci.LEGACY_CONFIG_VECTOR + pci.LEGACY_VECTOR_BYTES + configSize));
}

function low(address: number): number {
  return address % 2 ** 32;
}

function high(address: number): number {
  return Math.floor(address / 2 ** 32);
}
