/**
 * virtio-mmio transport, version 2: a map of registers over what the driver
 * sets up (common-config.ts), and an interrupt with its status.
 *
 * Interrupts are edges: each pulse makes the guest read InterruptStatus. An
 * acknowledgement that leaves a cause behind pulses again.
 *
 * No read has a side effect. So the values that reads return can lie in a page
 * of memory that the guest reads without an exit: after each change the
 * registers are copied there, under the lock. In that case an acknowledgement of
 * used buffers alone is not an exit either; the io thread collects it some
 * milliseconds later. Until then InterruptStatus may show a bit that was already
 * acknowledged: to the driver an interrupt without a cause, which 2.7.7.1 has it
 * handle. See docs/threads.md.
 *
 * Source: VIRTIO 1.2, 4.2.2 (MMIO Device Register Layout).
 *
 * Not offered: the legacy interface (version 1) and shared memory regions.
 * Registers take aligned 32-bit writes only; others do nothing.
 */
import { layout } from "../../base/layout.ts";
import type { AccessSize, AfterWrite, IoDevice, IrqPulse, Latch } from "../../bus/io.ts";
import { CommonConfig, type QueueField } from "../common-config.ts";
import type { VirtioDevice } from "../device.ts";
import type { QueueConfig } from "../queue/split-queue.ts";
import { DEVICE_NEEDS_RESET } from "../spec.ts";
import * as mmio from "./mmio-registers.ts";
import type { Doorbell, LateAcknowledgement, NotifyQueue, VirtioTransport } from "./transport.ts";

const MAGIC = 0x7472_6976; // "virt"
const MODERN = 2;
const VENDOR = 0x7865_6d76; // "vmex"
const ALL_ONES = 0xffff_ffff;

const QUEUE_FIELDS: ReadonlyMap<number, QueueField> = new Map([
  [mmio.QUEUE_NUM, "size"],
  [mmio.QUEUE_DESC_LOW, "descLow"],
  [mmio.QUEUE_DESC_HIGH, "descHigh"],
  [mmio.QUEUE_DRIVER_LOW, "driverLow"],
  [mmio.QUEUE_DRIVER_HIGH, "driverHigh"],
  [mmio.QUEUE_DEVICE_LOW, "deviceLow"],
  [mmio.QUEUE_DEVICE_HIGH, "deviceHigh"],
]);

/** CommonRegisters, and the transport's own. All zero after power-on, except that `epoch` continues. */
export const VirtioMmioState = layout("virtio-mmio", 1, {
  status: "u32",
  deviceFeaturesSel: "u32",
  driverFeaturesSel: "u32",
  driverFeaturesLow: "u32",
  driverFeaturesHigh: "u32",
  driverFeaturesBeyond: "u32",
  queueSel: "u32",
  interruptStatus: "u32",
  configGeneration: "u32",
  epoch: "u32",
});

export interface MmioWiring {
  readonly interrupt: IrqPulse;
  /** Notifies the io thread of a store to QueueNotify that was an exit. */
  readonly notify: NotifyQueue;
  /** Waits until the io thread has closed the queues of the epoch before. */
  readonly queuesReset: AfterWrite;
  /** The window's words as the guest reads them without an exit, little-endian. Without it every read is an exit. */
  readonly page?: Uint32Array | undefined;
  /** On the io thread: whether the driver wrote 1 to InterruptACK, if that is not an exit. */
  readonly acknowledged?: Latch | undefined;
}

export class VirtioMmio implements IoDevice, VirtioTransport, LateAcknowledgement {
  readonly acknowledgement: Doorbell = {
    offset: mmio.INTERRUPT_ACK,
    length: 4,
    datamatch: mmio.INT_USED_BUFFER,
  };
  readonly config: CommonConfig;
  readonly #device: VirtioDevice;
  readonly #regs: ReturnType<typeof VirtioMmioState.view>;
  readonly #wiring: MmioWiring;

  /** @param queues one for each entry of `device.queueSizes`. */
  constructor(
    device: VirtioDevice,
    regs: ReturnType<typeof VirtioMmioState.view>,
    queues: readonly QueueConfig[],
    wiring: MmioWiring,
  ) {
    this.#device = device;
    this.#regs = regs;
    this.config = new CommonConfig(device, regs, queues, wiring.queuesReset);
    this.#wiring = wiring;
  }

  read(offset: number, size: AccessSize): number {
    if (size === 4 && (offset & 3) === 0) return this.#word(offset);
    let value = 0;
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      value |= ((this.#word(at & ~3) >>> (8 * (at & 3))) & 0xff) << (8 * i);
    }
    return value >>> 0;
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: almost no register has anything to settle
  write(offset: number, size: AccessSize, value: number): AfterWrite | void {
    const after = this.#writeRegister(offset, size, value);
    this.#show();
    return after;
  }

  reset(): void {
    this.#regs.interruptStatus = 0;
    this.config.reset();
    this.#show();
  }

  /** One interrupt serves all queues, so which one it was does not matter here. */
  usedBuffers(_queue: number): void {
    this.#regs.interruptStatus |= mmio.INT_USED_BUFFER;
    this.#show(mmio.INTERRUPT_STATUS, mmio.INTERRUPT_STATUS + 4);
    // An acknowledgement from before the bit was set is discarded here: see collectAcknowledgement.
    this.#wiring.acknowledged?.take();
    // Even if the bit was set already: the driver may have read it and not yet acknowledged.
    this.#wiring.interrupt.pulse();
  }

  configChanged(): void {
    if (this.config.running) this.raiseConfigChange();
    else this.#showConfig();
  }

  raiseConfigChange(): void {
    this.#showConfig();
    this.#regs.interruptStatus |= mmio.INT_CONFIG_CHANGE;
    this.#show(mmio.INTERRUPT_STATUS, mmio.INTERRUPT_STATUS + 4);
    this.#wiring.interrupt.pulse();
  }

  fail(): void {
    this.#regs.status |= DEVICE_NEEDS_RESET;
    this.#show();
    // 2.1.2: a driver that has not set DRIVER_OK is not interrupted.
    if (this.config.driverIsReady) this.raiseConfigChange();
  }

  doorbells(): readonly Doorbell[] {
    return Array.from({ length: this.config.queues }, (_, queue) => ({
      offset: mmio.QUEUE_NOTIFY,
      length: 4,
      datamatch: queue,
    }));
  }

  get unacknowledged(): boolean {
    return (this.#regs.interruptStatus & mmio.INT_USED_BUFFER) !== 0;
  }

  /**
   * Clears bit 0 of InterruptStatus if the driver acknowledged it without an exit.
   *
   * An acknowledgement that is found here was written after the last usedBuffers
   * had set the bit, because that discarded all earlier ones. So clearing the bit
   * is what the write itself would have done, only later; in between the guest saw
   * a bit too many, never one too few. An acknowledgement that usedBuffers
   * discarded may have come after the bit was set; then the bit stays set, and the
   * pulse that follows makes the driver acknowledge again.
   */
  collectAcknowledgement(): void {
    if (this.#wiring.acknowledged?.take() === true) this.#acknowledge(mmio.INT_USED_BUFFER);
  }

  #word(offset: number): number {
    if (offset < mmio.CONFIG) return this.#register(offset);
    const at = offset - mmio.CONFIG;
    let value = 0;
    for (let i = 0; i < 4; i++) value |= this.#device.readConfig(at + i) << (8 * i);
    return value >>> 0;
  }

  #register(offset: number): number {
    const regs = this.#regs;
    switch (offset) {
      case mmio.MAGIC_VALUE:
        return MAGIC;
      case mmio.VERSION:
        return MODERN;
      case mmio.DEVICE_ID:
        return this.#device.deviceId;
      case mmio.VENDOR_ID:
        return VENDOR;
      case mmio.DEVICE_FEATURES:
        return this.config.deviceFeatures;
      case mmio.QUEUE_NUM_MAX:
        return this.config.queueSizeMax;
      case mmio.QUEUE_READY:
        return this.config.queueReady;
      case mmio.INTERRUPT_STATUS:
        return regs.interruptStatus;
      case mmio.STATUS:
        return regs.status;
      case mmio.SHM_LEN_LOW:
      case mmio.SHM_LEN_HIGH:
      case mmio.SHM_BASE_LOW:
      case mmio.SHM_BASE_HIGH:
        return ALL_ONES; // 4.2.2: a region that does not exist has length -1
      case mmio.CONFIG_GENERATION:
        return regs.configGeneration;
      default:
        return 0;
    }
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #writeRegister(offset: number, size: AccessSize, value: number): AfterWrite | void {
    if (offset >= mmio.CONFIG) {
      this.#device.writeConfig(offset - mmio.CONFIG, size, value);
      return;
    }
    if (size !== 4) return;
    const config = this.config;
    const regs = this.#regs;
    switch (offset) {
      case mmio.DEVICE_FEATURES_SEL:
        regs.deviceFeaturesSel = value;
        break;
      case mmio.DRIVER_FEATURES_SEL:
        regs.driverFeaturesSel = value;
        break;
      case mmio.DRIVER_FEATURES:
        config.driverFeatures = value;
        break;
      case mmio.QUEUE_SEL:
        regs.queueSel = value;
        break;
      case mmio.QUEUE_READY:
        return config.writeQueueReady(value);
      case mmio.QUEUE_NOTIFY:
        if (value < config.queues) this.#wiring.notify.notify(value);
        break;
      case mmio.INTERRUPT_ACK:
        this.#acknowledge(value);
        break;
      case mmio.STATUS:
        if (value === 0) regs.interruptStatus = 0;
        return config.writeStatus(value);
      default: {
        const field = QUEUE_FIELDS.get(offset);
        if (field !== undefined) config.writeQueue(field, value);
      }
    }
  }

  /** A new generation before the words and one after them: a driver that reads meanwhile sees it change (2.5.2). */
  #showConfig(): void {
    this.#regs.configGeneration++;
    this.#show();
    this.#regs.configGeneration++;
    this.#show(mmio.CONFIG_GENERATION, mmio.CONFIG_GENERATION + 4);
  }

  #acknowledge(causes: number): void {
    this.#regs.interruptStatus &= ~causes;
    this.#show(mmio.INTERRUPT_STATUS, mmio.INTERRUPT_STATUS + 4);
    if (this.#regs.interruptStatus !== 0) this.#wiring.interrupt.pulse();
  }

  /** Copies registers to where the guest reads them: in this place alone, from what `read` would return. */
  #show(start = 0, end = mmio.CONFIG + this.#device.configSize): void {
    const { page } = this.#wiring;
    if (page === undefined) return;
    for (let offset = start; offset < end; offset += 4) page[offset >> 2] = this.#word(offset);
  }
}
