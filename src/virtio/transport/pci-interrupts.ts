/**
 * The interrupts of a virtio device on PCI: a message for each queue and one for
 * its configuration, as the driver chose them; or, while MSI-X is off, the one
 * line, with ISR status for its cause. Reading that lowers the line.
 *
 * Source: VIRTIO 1.2, 4.1.4.5 (ISR status capability), 4.1.5.1.2 (MSI-X Vector
 * Configuration), 4.1.5.3 and 4.1.5.4.
 */
import { layout } from "../../base/layout.ts";
import type { IrqLine } from "../../bus/io.ts";
import { ISR_CONFIG, ISR_QUEUE, NO_VECTOR } from "./pci-registers.ts";

export const PciInterruptsState = layout("virtio-pci-interrupts", 1, {
  isr: "u8",
  configVector: "u32",
});

/** One for each queue. */
export const PciQueueVectorState = layout("virtio-pci-queue", 1, { vector: "u32" });

/** MSI-X of the function. */
export interface MessageInterrupts {
  /** Messages replace the line. */
  readonly enabled: boolean;
  readonly vectors: number;
  signal(vector: number): void;
  clearPending(): void;
}

export class PciInterrupts {
  readonly #regs: ReturnType<typeof PciInterruptsState.view>;
  readonly #queues: readonly ReturnType<typeof PciQueueVectorState.view>[];
  readonly #messages: MessageInterrupts;
  readonly #line: IrqLine;

  constructor(
    regs: ReturnType<typeof PciInterruptsState.view>,
    queues: readonly ReturnType<typeof PciQueueVectorState.view>[],
    messages: MessageInterrupts,
    line: IrqLine,
  ) {
    this.#regs = regs;
    this.#queues = queues;
    this.#messages = messages;
    this.#line = line;
  }

  /** Buffers of queue `queue` were used. */
  usedBuffers(queue: number): void {
    this.#raise(ISR_QUEUE, this.#queues[queue].vector);
  }

  configChanged(): void {
    this.#raise(ISR_CONFIG, this.#regs.configVector);
  }

  /** What a read of ISR status returns and clears. */
  takeIsr(): number {
    const { isr } = this.#regs;
    this.#regs.isr = 0;
    this.update();
    return isr;
  }

  get areMessages(): boolean {
    return this.#messages.enabled;
  }

  get configVector(): number {
    return this.#regs.configVector;
  }

  set configVector(vector: number) {
    this.#regs.configVector = this.#known(vector);
  }

  /** NO_VECTOR if there is no such queue. */
  queueVector(queue: number): number {
    return this.#queues[queue]?.vector ?? NO_VECTOR;
  }

  setQueueVector(queue: number, vector: number): void {
    const regs = this.#queues[queue];
    if (regs !== undefined) regs.vector = this.#known(vector);
  }

  /** Sets the line: the driver may have switched messages on or off. */
  update(): void {
    this.#line.set(this.#regs.isr !== 0 && !this.#messages.enabled);
  }

  reset(): void {
    this.#regs.isr = 0;
    this.#regs.configVector = NO_VECTOR;
    for (const queue of this.#queues) queue.vector = NO_VECTOR;
    this.#messages.clearPending();
    this.update();
  }

  #raise(cause: number, vector: number): void {
    this.#regs.isr |= cause;
    if (this.#messages.enabled) this.#messages.signal(vector);
    else this.#line.set(true);
  }

  /** A driver that reads NO_VECTOR knows that the device has no such vector. */
  #known(vector: number): number {
    return vector < this.#messages.vectors ? vector : NO_VECTOR;
  }
}
