/**
 * virtio-mmio transport, version 2: the registers through which a driver finds
 * a device, agrees on features and says where its queues are.
 *
 * vCPU threads serve them under the device's lock. The queues belong to the io
 * thread, which takes a copy of their configuration when the first doorbell
 * after DRIVER_OK rings. Taking queues away (Status = 0, QueueReady = 0) has to
 * be over when the driver's write is, because it will reuse that memory: such a
 * write returns `queuesReset`, settled once the lock is free.
 *
 * Interrupts are edges: each pulse makes the guest look at InterruptStatus. An
 * acknowledgement that leaves a cause behind pulses again.
 *
 * No read has a side effect. So what reads give can lie in a page of memory that
 * the guest reads without an exit: after each change the registers are copied
 * there, under the lock. With it goes an acknowledgement without an exit, for
 * used buffers alone, which the io thread collects some milliseconds later. Until
 * then InterruptStatus may show a bit that was acknowledged: to the driver an
 * interrupt without a cause, which 2.7.7.1 has it handle. See docs/threads.md.
 *
 * Source: VIRTIO 1.2, 4.2.2 (MMIO Device Register Layout), 2.1 and 3.1.1.
 *
 * Not offered: the legacy interface (version 1), shared memory regions,
 * F_RING_RESET and F_NOTIFICATION_DATA. Registers take aligned 32-bit writes
 * only; others do nothing.
 */
import { layout } from "../../base/layout.ts";
import type { AccessSize, AfterWrite, IoDevice, IrqPulse, Latch, Signal } from "../../bus/io.ts";
import type { VirtioDevice, VirtioTransport } from "../device.ts";
import type { QueueConfig } from "../queue/split-queue.ts";
import {
  ACKNOWLEDGE,
  CONFIG,
  CONFIG_GENERATION,
  DEVICE_FEATURES,
  DEVICE_FEATURES_SEL,
  DEVICE_ID,
  DEVICE_NEEDS_RESET,
  DRIVER,
  DRIVER_FEATURES,
  DRIVER_FEATURES_SEL,
  DRIVER_OK,
  F_EVENT_IDX_LOW,
  F_INDIRECT_DESC_LOW,
  F_VERSION_1_HIGH,
  FAILED,
  FEATURES_OK,
  INT_CONFIG_CHANGE,
  INT_USED_BUFFER,
  INTERRUPT_ACK,
  INTERRUPT_STATUS,
  MAGIC_VALUE,
  QUEUE_DESC_HIGH,
  QUEUE_DESC_LOW,
  QUEUE_DEVICE_HIGH,
  QUEUE_DEVICE_LOW,
  QUEUE_DRIVER_HIGH,
  QUEUE_DRIVER_LOW,
  QUEUE_NOTIFY,
  QUEUE_NUM,
  QUEUE_NUM_MAX,
  QUEUE_READY,
  QUEUE_SEL,
  SHM_BASE_HIGH,
  SHM_BASE_LOW,
  SHM_LEN_HIGH,
  SHM_LEN_LOW,
  STATUS,
  VENDOR_ID,
  VERSION,
} from "../spec.ts";

const MAGIC = 0x7472_6976; // "virt"
const MODERN = 2;
const VENDOR = 0x7865_6d76; // "vmex"
const ALL_ONES = 0xffff_ffff;

/** All zero after power-on, except that `epoch` goes on. */
export const VirtioMmioState = layout("virtio-mmio", 1, {
  status: "u32",
  deviceFeaturesSel: "u32",
  driverFeaturesSel: "u32",
  driverFeaturesLow: "u32",
  driverFeaturesHigh: "u32",
  driverFeaturesBeyond: "u32", // anything written for bits from 64 on, where nothing is offered
  queueSel: "u32",
  interruptStatus: "u32",
  configGeneration: "u32",
  epoch: "u32", // how often the driver took queues away
});

export interface MmioWiring {
  readonly interrupt: IrqPulse;
  /** Makes the io thread look at the device's queues: where a doorbell arrives as an exit. */
  readonly notify: Signal;
  /** Waits until the io thread has let go of the queues of the current epoch. */
  readonly queuesReset: AfterWrite;
  /** The window's words as the guest reads them without an exit, little-endian. Without it every read is an exit. */
  readonly page?: Uint32Array | undefined;
  /** On the io thread: whether the driver wrote 1 to InterruptACK, if that is no exit. */
  readonly acknowledged?: Latch | undefined;
}

export class VirtioMmio implements IoDevice, VirtioTransport {
  readonly #device: VirtioDevice;
  readonly #regs: ReturnType<typeof VirtioMmioState.view>;
  readonly #queues: readonly QueueConfig[];
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
    this.#queues = queues;
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
    this.#clear();
    this.#show();
  }

  get epoch(): number {
    return this.#regs.epoch;
  }

  get running(): boolean {
    return (this.#regs.status & (DRIVER_OK | DEVICE_NEEDS_RESET | FAILED)) === DRIVER_OK;
  }

  get driverFeaturesLow(): number {
    return this.#regs.driverFeaturesLow;
  }

  get driverFeaturesHigh(): number {
    return this.#regs.driverFeaturesHigh;
  }

  raiseUsed(): void {
    this.#regs.interruptStatus |= INT_USED_BUFFER;
    this.#show(INTERRUPT_STATUS, INTERRUPT_STATUS + 4);
    // Whatever was acknowledged before the bit was set is forgotten here: see collectAcknowledgement.
    this.#wiring.acknowledged?.take();
    // Even if the bit was set already: the driver may have read it and not yet acknowledged.
    this.#wiring.interrupt.pulse();
  }

  configChanged(): void {
    if (this.running) this.raiseConfigChange();
    else this.#showConfig();
  }

  raiseConfigChange(): void {
    this.#showConfig();
    this.#regs.interruptStatus |= INT_CONFIG_CHANGE;
    this.#show(INTERRUPT_STATUS, INTERRUPT_STATUS + 4);
    this.#wiring.interrupt.pulse();
  }

  fail(): void {
    this.#regs.status |= DEVICE_NEEDS_RESET;
    this.#show();
    // 2.1.2: a driver that has not said DRIVER_OK is not told by interrupt.
    if ((this.#regs.status & DRIVER_OK) !== 0) this.raiseConfigChange();
  }

  /** True while InterruptStatus says that buffers were used. The io thread, which alone sets it, needs no lock to ask. */
  get unacknowledged(): boolean {
    return (this.#regs.interruptStatus & INT_USED_BUFFER) !== 0;
  }

  /**
   * Clears bit 0 of InterruptStatus if the driver acknowledged it without an exit.
   *
   * An acknowledgement that is found here was written after the last raiseUsed
   * had set the bit, because that forgot all before. So clearing the bit is what
   * the write itself would have done, only later; and in between the guest saw a
   * bit too many, never one too few. What raiseUsed forgets may have come after
   * the bit was set; then it stays set, and the pulse that follows makes the
   * driver acknowledge again.
   */
  collectAcknowledgement(): void {
    if (this.#wiring.acknowledged?.take() === true) this.#acknowledge(INT_USED_BUFFER);
  }

  #word(offset: number): number {
    if (offset < CONFIG) return this.#register(offset);
    const at = offset - CONFIG;
    let value = 0;
    for (let i = 0; i < 4; i++) value |= this.#device.readConfig(at + i) << (8 * i);
    return value >>> 0;
  }

  #register(offset: number): number {
    const regs = this.#regs;
    switch (offset) {
      case MAGIC_VALUE:
        return MAGIC;
      case VERSION:
        return MODERN;
      case DEVICE_ID:
        return this.#device.deviceId;
      case VENDOR_ID:
        return VENDOR;
      case DEVICE_FEATURES:
        if (regs.deviceFeaturesSel === 0) return this.#offeredLow;
        return regs.deviceFeaturesSel === 1 ? this.#offeredHigh : 0;
      case QUEUE_NUM_MAX:
        return this.#device.queueSizes[regs.queueSel] ?? 0;
      case QUEUE_READY:
        return this.#queues[regs.queueSel]?.ready ?? 0;
      case INTERRUPT_STATUS:
        return regs.interruptStatus;
      case STATUS:
        return regs.status;
      case SHM_LEN_LOW:
      case SHM_LEN_HIGH:
      case SHM_BASE_LOW:
      case SHM_BASE_HIGH:
        return ALL_ONES; // 4.2.2: a region that does not exist has length -1
      case CONFIG_GENERATION:
        return regs.configGeneration;
      default:
        return 0;
    }
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #writeRegister(offset: number, size: AccessSize, value: number): AfterWrite | void {
    if (offset >= CONFIG) {
      this.#device.writeConfig(offset - CONFIG, size, value);
      return;
    }
    if (size !== 4) return;
    const regs = this.#regs;
    switch (offset) {
      case DEVICE_FEATURES_SEL:
        regs.deviceFeaturesSel = value;
        break;
      case DRIVER_FEATURES_SEL:
        regs.driverFeaturesSel = value;
        break;
      case DRIVER_FEATURES:
        this.#chooseFeatures(value);
        break;
      case QUEUE_SEL:
        regs.queueSel = value;
        break;
      case QUEUE_NOTIFY:
        if (value < this.#queues.length) this.#wiring.notify.raise();
        break;
      case INTERRUPT_ACK:
        this.#acknowledge(value);
        break;
      case STATUS:
        if (value === 0) return this.#takeAway();
        this.#advance(value);
        break;
      default:
        return this.#configureQueue(offset, value);
    }
  }

  /** A new generation before the words and one after them: a driver that reads meanwhile sees it change (2.5.2). */
  #showConfig(): void {
    this.#regs.configGeneration++;
    this.#show();
    this.#regs.configGeneration++;
    this.#show(CONFIG_GENERATION, CONFIG_GENERATION + 4);
  }

  #acknowledge(causes: number): void {
    this.#regs.interruptStatus &= ~causes;
    this.#show(INTERRUPT_STATUS, INTERRUPT_STATUS + 4);
    if (this.#regs.interruptStatus !== 0) this.#wiring.interrupt.pulse();
  }

  /** Copies registers to where the guest reads them: in this place alone, from what `read` would give. */
  #show(start = 0, end = CONFIG + this.#device.configSize): void {
    const { page } = this.#wiring;
    if (page === undefined) return;
    for (let offset = start; offset < end; offset += 4) page[offset >> 2] = this.#word(offset);
  }

  get #offeredLow(): number {
    return (this.#device.featuresLow | F_INDIRECT_DESC_LOW | F_EVENT_IDX_LOW) >>> 0;
  }

  get #offeredHigh(): number {
    return (this.#device.featuresHigh | F_VERSION_1_HIGH) >>> 0;
  }

  #chooseFeatures(value: number): void {
    const regs = this.#regs;
    if ((regs.status & FEATURES_OK) !== 0) return;
    if (regs.driverFeaturesSel === 0) regs.driverFeaturesLow = value;
    else if (regs.driverFeaturesSel === 1) regs.driverFeaturesHigh = value;
    else regs.driverFeaturesBeyond |= value;
  }

  /** A driver sets status bits one after the other and never clears one but by a reset. */
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

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #configureQueue(offset: number, value: number): AfterWrite | void {
    const queue = this.#queues[this.#regs.queueSel];
    if (queue === undefined) return;
    if (queue.ready !== 0) {
      if (offset !== QUEUE_READY || value !== 0) return;
      queue.ready = 0;
      return this.#endEpoch();
    }
    switch (offset) {
      case QUEUE_NUM:
        queue.size = value;
        break;
      case QUEUE_READY:
        queue.ready = value & 1;
        break;
      case QUEUE_DESC_LOW:
        queue.descLow = value;
        break;
      case QUEUE_DESC_HIGH:
        queue.descHigh = value;
        break;
      case QUEUE_DRIVER_LOW:
        queue.driverLow = value;
        break;
      case QUEUE_DRIVER_HIGH:
        queue.driverHigh = value;
        break;
      case QUEUE_DEVICE_LOW:
        queue.deviceLow = value;
        break;
      case QUEUE_DEVICE_HIGH:
        queue.deviceHigh = value;
        break;
    }
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #takeAway(): AfterWrite | void {
    const wasLive = (this.#regs.status & DRIVER_OK) !== 0;
    this.#clear();
    // Without DRIVER_OK the io thread never had the queues: nobody to wait for.
    if (wasLive) return this.#wiring.queuesReset;
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as for write
  #endEpoch(): AfterWrite | void {
    if ((this.#regs.status & DRIVER_OK) === 0) return;
    this.#regs.epoch++;
    return this.#wiring.queuesReset;
  }

  #clear(): void {
    const regs = this.#regs;
    regs.status = 0;
    regs.deviceFeaturesSel = 0;
    regs.driverFeaturesSel = 0;
    regs.driverFeaturesLow = 0;
    regs.driverFeaturesHigh = 0;
    regs.driverFeaturesBeyond = 0;
    regs.queueSel = 0;
    regs.interruptStatus = 0;
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
}
