/**
 * The io thread's side of one virtio device: opens its queues when the driver
 * is ready, lets the device serve them, and closes them when the driver takes
 * them away. The same lines run every device type.
 *
 * The device's lock is taken where the two threads meet and nowhere else: to
 * open a queue, to raise an interrupt, to settle an epoch. See docs/virtio.md.
 *
 * Source: VIRTIO 1.2, 2.7.10 (Available Buffer Notifications), 2.1.2
 * (DEVICE_NEEDS_RESET), 2.4 (Device Reset).
 */
import { layout } from "../../base/layout.ts";
import type { Lock } from "../../base/lock.ts";
import { AGAIN, NEVER } from "../../bus/io-task.ts";
import type { DirtySink } from "../../memory/dirty-sink.ts";
import type { DeviceQueue, ReportDevice } from "../device.ts";
import type { VirtioTransport } from "../transport/transport.ts";
import { BrokenQueue, Chain } from "./chain.ts";
import { type HandoverParts, KernelHandover } from "./kernel-queues.ts";
import { type QueueConfig, SplitQueue } from "./split-queue.ts";

/** Requests served from one queue before other queues have their turn. */
const BATCH = 64;
/** Submit, and interrupt, every SLICE requests, so that back end and driver work while the rest is served. */
const SLICE = 16;

/** Written by the io thread under the device's lock; a thread that waits for a reset compares it with the transport's. */
export const QueueRunnerState = layout("virtio-queue-runner", 1, { epoch: "u32" });

export interface QueueRunnerParts extends HandoverParts {
  /** For reports. */
  readonly name: string;
  readonly transport: VirtioTransport;
  readonly configs: readonly QueueConfig[];
  readonly state: ReturnType<typeof QueueRunnerState.view>;
  /** The device's lock: the one that `Guarded` takes around the transport. */
  readonly lock: Lock;
  readonly report: ReportDevice;
}

export class QueueRunner {
  readonly #parts: QueueRunnerParts;
  /** Undefined if the kernel serves none of its queues at any time. */
  readonly #kernel: KernelHandover | undefined;
  readonly #queues: readonly RunningQueue[];
  readonly #turn: Turn = { pushed: 0 };
  #active = false;
  #served = 0;

  constructor(parts: QueueRunnerParts) {
    this.#parts = parts;
    this.#queues = parts.configs.map((_, index) => new RunningQueue(index, parts, this.#turn));
    if (parts.kernelQueues !== undefined) this.#kernel = new KernelHandover(parts);
  }

  get queues(): number {
    return this.#queues.length;
  }

  /** Requests that the last call of `serve` took. */
  get served(): number {
    return this.#served;
  }

  /**
   * The driver notified the device, or the device asked for this: serves up to a
   * batch of requests. Returns as a task's `turn` does; AGAIN asks for `settleEpoch`
   * and this again, after others had their turn. While it serves, and after it if
   * `polls`, the driver need not notify: see `arm`.
   */
  serve(index: number, polls = true): number {
    const { transport, state } = this.#parts;
    this.#served = 0;
    this.#turn.pushed = 0;
    if (transport.config.epoch !== state.epoch) return AGAIN;
    const queue = this.#queues[index];
    try {
      if (this.#kernel !== undefined && this.#leaveToKernel(this.#kernel, index)) return NEVER;
      if (!queue.isOpen && !this.#open(queue)) return NEVER;
      const result = this.#serveBatch(queue, polls);
      // A command in a queue may have changed what the kernel is to serve.
      if (this.#kernel !== undefined) this.#review(this.#kernel);
      return result;
    } catch (error) {
      this.#giveUp(error);
      return NEVER;
    }
  }

  /** Whether the driver has offered something in a queue that was served. Costs next to nothing. */
  hasMore(index: number): boolean {
    return this.#queues[index].hasMore;
  }

  /**
   * Asks the driver to notify the device of what it offers next in a queue that
   * `serve` left empty. True if it has offered something meanwhile, of which it does
   * not notify: serve again.
   */
  arm(index: number): boolean {
    return this.#queues[index].arm();
  }

  /** Pushes the requests that the device has completed, and interrupts the driver if it wants that. */
  poll(): void {
    this.#turn.pushed = 0;
    this.#finish();
  }

  /** The kernel has used buffers of queue `index`, and the driver wants to be interrupted. */
  interrupt(index: number): void {
    this.#queues[index].interrupt();
  }

  /** The kernel reports that it cannot serve a queue: the device serves all of them. */
  kernelFailed(): void {
    if (this.#kernel === undefined) return;
    this.#kernel.refuse();
    this.#review(this.#kernel);
  }

  /**
   * Closes the queues if the driver took any away since the last call. True if so:
   * then the thread that waits for it has to be woken. To be called on every wake;
   * nothing else settles an epoch, so that no waiter is forgotten.
   */
  settleEpoch(): boolean {
    const { device, transport, state, configs, cursors, lock } = this.#parts;
    // Without the lock: a change that is missed here comes with a wake of its own.
    if (transport.config.epoch === state.epoch) return false;
    this.quiesce();
    lock.acquire();
    try {
      configs.forEach((config, index) => {
        if (config.ready !== 0) return;
        const cursor = cursors[index];
        cursor.nextAvail = 0;
        cursor.nextUsed = 0;
        cursor.signalledUsed = 0;
        device.forget?.(index);
      });
      this.#kernel?.forgive();
      state.epoch = transport.config.epoch;
    } finally {
      lock.release();
    }
    return true;
  }

  /**
   * Waits for requests in flight and closes the queues where their cursors stand,
   * for a snapshot. They open again with the next call of `serve`, which is due for
   * each queue: a notification from before is forgotten.
   */
  quiesce(): void {
    if (this.#active) {
      const { device } = this.#parts;
      // A driver in a reset does not reuse the rings yet: it waits for this.
      device.drain?.(this.#queues);
      for (const queue of this.#queues) {
        if (this.#kernel?.stop(queue.index) === true) queue.interrupt();
        queue.interruptIfWanted();
      }
      device.deactivate();
    }
    this.#active = false;
    for (const queue of this.#queues) queue.close();
  }

  /** The machine continues after a pause: the device may serve deferred requests again. */
  resume(): void {
    this.#parts.device.resume?.();
  }

  /** Shows the driver that what the device stores has another size, in bytes. */
  resize(size: number): void {
    const { device, transport, lock } = this.#parts;
    lock.acquire();
    try {
      device.resize?.(size);
      transport.configChanged();
    } finally {
      lock.release();
    }
  }

  #serveBatch(queue: RunningQueue, polls: boolean): number {
    const { device } = this.#parts;
    queue.beginBatch(polls);
    for (;;) {
      const result = device.run(queue, queue.index);
      this.#finish();
      this.#served = queue.taken;
      if (!queue.endSlice()) return queue.isCutShort ? AGAIN : result;
    }
  }

  #finish(): void {
    if (!this.#active) return;
    this.#parts.device.poll?.(this.#queues);
    for (const queue of this.#queues) queue.interruptIfWanted();
  }

  #open(queue: RunningQueue): boolean {
    const { device, transport, configs, cursors, memory, lock, state, dirty } = this.#parts;
    const { index } = queue;
    let split: SplitQueue;
    let featuresLow: number;
    let featuresHigh: number;
    lock.acquire();
    try {
      const config = configs[index];
      if (!transport.config.running || config.ready === 0 || transport.config.epoch !== state.epoch)
        return false;
      featuresLow = transport.config.driverFeaturesLow;
      featuresHigh = transport.config.driverFeaturesHigh;
      split = new SplitQueue(memory, config, cursors[index], device.queueSizes[index], featuresLow, dirty);
    } finally {
      lock.release();
    }
    if (!this.#active) device.activate(featuresLow, featuresHigh);
    this.#active = true;
    if (this.#kernel?.start(index, split.place, featuresLow, featuresHigh) !== true) queue.open(split);
    return true;
  }

  /** Queue `index` has a turn. True if it is the kernel's. */
  #leaveToKernel(kernel: KernelHandover, index: number): boolean {
    this.#review(kernel);
    if (!kernel.may(index)) return false;
    const wasServed = kernel.serves(index);
    // All of them: the driver need not notify of a queue before it offers something there.
    for (const queue of this.#queues) {
      if (!queue.isOpen && !kernel.serves(queue.index) && kernel.may(queue.index)) this.#open(queue);
    }
    // The notification may have been an exit, of which the kernel does not know.
    if (wasServed) kernel.kick(index);
    return kernel.serves(index) || !this.#queues[index].isOpen;
  }

  /** Takes queues back that the kernel may not serve any more, and closes those that it may serve now. */
  #review(kernel: KernelHandover): void {
    for (const queue of this.#queues) {
      const { index } = queue;
      if (kernel.serves(index)) {
        // Its last interrupt may still be a signal that nobody has taken.
        if (!kernel.may(index) && kernel.stop(index)) queue.interrupt();
      } else if (queue.isOpen && kernel.may(index)) {
        queue.interruptIfWanted();
        queue.close();
        this.#open(queue);
      }
    }
  }

  /** The driver broke a queue: the device stops until it is reset. Other errors are ours, and are thrown on. */
  #giveUp(error: unknown): void {
    if (!(error instanceof BrokenQueue)) throw error;
    const { device, transport, state, lock, name, report } = this.#parts;
    this.quiesce();
    for (const { index } of this.#queues) device.forget?.(index);
    lock.acquire();
    try {
      // A driver that took the queue away meanwhile was free to write over it.
      if (transport.config.epoch !== state.epoch) return;
      transport.fail();
    } finally {
      lock.release();
    }
    report({
      device: name,
      code: "EQUEUE",
      message: `the driver broke a virtqueue: ${error.message}. The device stops until the guest resets it.`,
    });
  }
}

/** What the queues of one runner share: requests pushed in this turn. */
interface Turn {
  pushed: number;
}

/** A queue from its first notification until it is closed, and the limits of the batch that is served from it. */
class RunningQueue implements DeviceQueue {
  readonly index: number;
  /** Requests that the device took in this batch, */
  taken = 0;
  /** and those of them that it did not push at once. */
  #inFlight = 0;
  readonly #parts: QueueRunnerParts;
  readonly #turn: Turn;
  #split: SplitQueue | undefined;
  /** The request that was taken last; -1 once it is pushed or counted. */
  #last = -1;
  /** Why `pop` returned false although there may be more. */
  #cut: "slice" | "batch" | undefined;
  /** The reactor may poll the queue after this batch; otherwise the driver has to notify. */
  #polls = false;
  /** The driver was asked not to notify. */
  #silent = false;
  /** The device took all that the driver had offered. Otherwise it waits for something else than the driver. */
  #drained = false;
  /** For the dirty sink: the device's own chain is in use. */
  #spare: Chain | undefined;

  constructor(index: number, parts: QueueRunnerParts, turn: Turn) {
    this.index = index;
    this.#parts = parts;
    this.#turn = turn;
  }

  get isOpen(): boolean {
    return this.#split !== undefined;
  }

  open(split: SplitQueue): void {
    this.#split = split;
  }

  close(): void {
    this.#split = undefined;
    this.#silent = false;
  }

  beginBatch(polls: boolean): void {
    this.taken = 0;
    this.#inFlight = 0;
    this.#last = -1;
    this.#cut = undefined;
    this.#polls = polls;
    this.#silent = true;
    this.#drained = false;
    this.#split?.disableNotifications();
  }

  /** True if only a slice ended, and the batch continues. */
  endSlice(): boolean {
    if (this.#cut !== "slice") return false;
    this.#cut = undefined;
    return true;
  }

  /** True if `pop` ended the batch. */
  get isCutShort(): boolean {
    return this.#cut !== undefined;
  }

  pop(chain: Chain): boolean {
    if (!this.#mayTake() || !this.popMore(chain)) return false;
    this.#take(chain.head);
    return true;
  }

  popMore(chain: Chain): boolean {
    const split = this.#split;
    if (split === undefined) return false;
    while (!split.pop(chain)) {
      if (this.#polls || !split.enableNotifications()) {
        this.#silent = this.#polls;
        this.#drained = true;
        return false;
      }
      split.disableNotifications();
    }
    return true;
  }

  unpop(count: number): void {
    this.#split?.unpop(count);
    this.#last = -1;
    this.taken--;
  }

  again(chain: Chain, head: number): boolean {
    const split = this.#split;
    if (split === undefined || !this.#mayTake()) return false;
    split.reload(chain, head);
    this.#take(head);
    return true;
  }

  push(head: number, written: number): void {
    const split = this.#split;
    if (split === undefined) return;
    const { dirty } = this.#parts;
    if (dirty?.on === true) this.#markBuffers(split, head, dirty);
    split.push(head, written);
    if (this.#last === head) this.#last = -1;
    this.#pushed(1);
  }

  pushTogether(heads: Uint32Array, written: Uint32Array, count: number): void {
    const split = this.#split;
    if (split === undefined) return;
    const { dirty } = this.#parts;
    if (dirty?.on === true) for (let n = 0; n < count; n++) this.#markBuffers(split, heads[n], dirty);
    split.pushTogether(heads, written, count);
    for (let n = 0; n < count; n++) if (this.#last === heads[n]) this.#last = -1;
    this.#pushed(count);
  }

  /** The driver is interrupted for the first request of a turn, and for each SLICE that follows. */
  #pushed(count: number): void {
    const turn = this.#turn;
    const slices = Math.ceil(turn.pushed / SLICE);
    turn.pushed += count;
    if (slices * SLICE < turn.pushed) this.interruptIfWanted();
  }

  interruptIfWanted(): void {
    if (this.#split?.wantsInterrupt() === true) this.interrupt();
  }

  interrupt(): void {
    const { transport, state, lock } = this.#parts;
    lock.acquire();
    try {
      if (transport.config.running && transport.config.epoch === state.epoch)
        transport.usedBuffers(this.index);
    } finally {
      lock.release();
    }
  }

  get hasMore(): boolean {
    return this.#silent && this.#drained && this.#split?.hasMore === true;
  }

  arm(): boolean {
    if (!this.#silent || !this.#drained) return false;
    this.#silent = false;
    return this.#split?.enableNotifications() === true;
  }

  /** Whether the device may take one more request before `run` returns. */
  #mayTake(): boolean {
    if (this.#last >= 0) {
      this.#last = -1;
      if (++this.#inFlight % SLICE === 0) {
        this.#cut = "slice";
        return false;
      }
    }
    const { transport, state } = this.#parts;
    // After a reset the offered requests no longer count, and the driver is waiting.
    if (this.taken < BATCH && transport.config.epoch === state.epoch) return true;
    this.#cut = "batch";
    return false;
  }

  #take(head: number): void {
    this.#last = head;
    this.taken++;
  }

  /** Before the push, after which the driver may reuse the descriptors. */
  #markBuffers(split: SplitQueue, head: number, dirty: DirtySink): void {
    const { memory, device } = this.#parts;
    this.#spare ??= new Chain(memory, Math.max(...device.queueSizes));
    const chain = this.#spare;
    try {
      split.reload(chain, head);
    } catch (error) {
      // The driver changed the descriptors of a request in flight: then their buffers are not marked.
      if (error instanceof BrokenQueue) return;
      throw error;
    }
    for (let i = chain.firstWritable; i < chain.end; i++) dirty.mark(chain.iov[2 * i], chain.iov[2 * i + 1]);
  }
}
