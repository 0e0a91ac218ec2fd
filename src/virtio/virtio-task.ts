/**
 * A virtio device as a task of the io thread: a bell for each queue, one for
 * each event of the device's own, and the acknowledgements of its interrupts.
 */
import type { Bell, BellListener, IoTask } from "../bus/io-task.ts";
import { AGAIN, NEVER } from "../bus/io-task.ts";
import { QueueRunner, type QueueRunnerParts } from "./queue/queue-runner.ts";
import { AcknowledgementCollector } from "./transport/acknowledgement-collector.ts";
import type { LateAcknowledgement } from "./transport/transport.ts";

/** An event of the device's own: a back end has completed something. */
export interface DeviceEvent {
  readonly bell: Bell;
  /** The queue that is served when it rings. Without one, the device is polled for completed requests. */
  readonly queue?: number;
  /** Or it comes from the kernel, which serves queues of the device. */
  readonly kernel?: KernelEvent;
}

/** The kernel used buffers of a queue; or perhaps it cannot serve one: an event has turns also when nothing rang. */
type KernelEvent = { readonly used: number } | { failed(): boolean };

/** `Inner` is what a disk inside the device can be asked. */
export interface VirtioTaskParts<Order = unknown, Reply = unknown, Inner = Order> extends QueueRunnerParts {
  /** By queue. */
  readonly doorbells: readonly Bell[];
  readonly events?: readonly DeviceEvent[];
  /** If acknowledgements are not exits. */
  readonly acknowledgement?: LateAcknowledgement | undefined;
  /** See IoTask.order. `runner` is for changes of the device's configuration. */
  readonly order?: ((order: Order, runner: Pick<QueueRunner, "resize">) => Reply) | undefined;
  /** What the owner may ask of disks that are inside the device, by their names. */
  readonly orders?: ReadonlyMap<string, DeviceOrders<Inner, Reply>> | undefined;
  readonly close?: (() => void) | undefined;
}

/** Carries out orders for one of a device's disks. `runner` notifies the driver. */
export type DeviceOrders<Order, Reply> = (order: Order, runner: Pick<QueueRunner, "serve">) => Reply;

/** The io side of a virtio device, with what its disks can be asked. */
export interface DeviceTask<Order, Reply, Inner> extends IoTask<Order, Reply> {
  readonly orders: ReadonlyMap<string, (order: Inner) => Reply>;
}

/** @returns the io side of a virtio device, whatever its type and its transport */
export function virtioTask<Order, Reply, Inner>(
  parts: VirtioTaskParts<Order, Reply, Inner>,
): DeviceTask<Order, Reply, Inner> {
  return new VirtioTask(parts);
}

class VirtioTask<Order, Reply, Inner> implements DeviceTask<Order, Reply, Inner> {
  readonly name: string;
  readonly bells: readonly (Bell | undefined)[];
  served = 0;
  readonly orders: ReadonlyMap<string, (order: Inner) => Reply>;
  readonly #runner: QueueRunner;
  readonly #events: readonly DeviceEvent[];
  readonly #collector: AcknowledgementCollector | undefined;
  readonly #parts: VirtioTaskParts<Order, Reply, Inner>;
  #listener: BellListener | undefined;

  constructor(parts: VirtioTaskParts<Order, Reply, Inner>) {
    const { name, doorbells, events = [], orders = [], acknowledgement, lock } = parts;
    this.name = name;
    this.#parts = parts;
    this.#runner = new QueueRunner({ ...parts, listen: (queue, on) => this.#listen(queue, on) });
    this.#events = events;
    this.orders = new Map(
      [...orders].map(([part, carryOut]) => [part, (order: Inner) => carryOut(order, this.#runner)]),
    );
    this.bells = [...doorbells, ...events.map(({ bell }) => bell)];
    if (acknowledgement !== undefined) {
      this.#collector = new AcknowledgementCollector(acknowledgement, lock);
      this.bells = [...this.bells, undefined];
    }
  }

  turn(bell: number, polls: boolean): number {
    const { queues } = this.#runner;
    if (bell < queues) return this.#serve(bell, polls);
    this.served = 0;
    const event = bell - queues;
    if (event === this.#events.length) {
      this.#collector?.collectWhenIdle();
      return NEVER;
    }
    const { queue, kernel } = this.#events[event];
    if (queue !== undefined) return this.#serve(queue, polls);
    if (kernel === undefined) this.#runner.poll();
    else if ("used" in kernel) this.#runner.interrupt(kernel.used);
    else if (kernel.failed()) this.#runner.kernelFailed();
    return NEVER;
  }

  connect(listener: BellListener): void {
    this.#listener = listener;
  }

  /** The queues. */
  get polled(): number {
    return this.#runner.queues;
  }

  peek(bell: number): boolean {
    return this.#runner.hasMore(bell);
  }

  arm(bell: number): number {
    const { queues } = this.#runner;
    if (bell < queues) return this.#runner.arm(bell) ? AGAIN : NEVER;
    if (bell - queues < this.#events.length || this.#collector === undefined) return NEVER;
    return this.#collector.beforeSleep();
  }

  settle(): boolean {
    return this.#runner.settleEpoch();
  }

  quiesce(): void {
    this.#runner.quiesce();
    this.#collector?.collect();
  }

  resume(): void {
    this.#runner.resume();
  }

  order(order: Order): Reply {
    const { order: carryOut } = this.#parts;
    if (carryOut === undefined) throw new TypeError(`${this.name} takes no orders`);
    return carryOut(order, this.#runner);
  }

  close(): void {
    this.#parts.close?.();
  }

  /** All bells that make the device serve the queue. */
  #listen(queue: number, on: boolean): void {
    this.#listener?.(queue, on);
    for (const [n, event] of this.#events.entries()) {
      if (event.queue === queue) this.#listener?.(this.#runner.queues + n, on);
    }
  }

  #serve(queue: number, polls: boolean): number {
    const result = this.#runner.serve(queue, polls);
    this.served = this.#runner.served;
    return result;
  }
}
