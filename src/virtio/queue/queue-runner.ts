/**
 * The io thread's side of one virtio device: opens its queues when the driver
 * is ready, serves what they hold and lets go of them when the driver takes
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
import type { GuestMemory } from "../../memory/guest-memory.ts";
import {
  type Complete,
  HOLD,
  PENDING,
  type ReportDevice,
  type VirtioDevice,
  type VirtioTransport,
} from "../device.ts";
import { BrokenQueue, Chain } from "./chain.ts";
import { type QueueConfig, type QueueCursor, SplitQueue } from "./split-queue.ts";

/** Requests served from one queue before the io thread looks at others. */
const BATCH = 64;
/**
 * The back end gets to work after so many requests are begun, while the next ones are. Of what is given back in a
 * turn, the driver hears after the first and then after so many, and works meanwhile too.
 */
const SLICE = 16;

/** Written by the io thread under the device's lock; whoever waits for a reset compares it with the transport's. */
export const QueueRunnerState = layout("virtio-queue-runner", 1, { epoch: "u32" });

export interface QueueRunnerParts {
  /** For reports. */
  readonly name: string;
  readonly device: VirtioDevice;
  readonly transport: VirtioTransport;
  readonly configs: readonly QueueConfig[];
  readonly cursors: readonly QueueCursor[];
  readonly state: ReturnType<typeof QueueRunnerState.view>;
  readonly memory: GuestMemory;
  /** The device's lock: the one that `Guarded` takes around the transport. */
  readonly lock: Lock;
  readonly report: ReportDevice;
}

export class QueueRunner {
  /** Requests that the last call of `serve` took. */
  served = 0;
  readonly #parts: QueueRunnerParts;
  readonly #chain: Chain;
  /** A queue is open from its first doorbell on. */
  readonly #queues: (SplitQueue | undefined)[];
  /** By queue: heads of requests that are to be served again, first ones first. */
  readonly #held: number[][];
  readonly #complete: Complete;
  /** Requests given back since the last turn began. */
  #given = 0;
  #active = false;

  constructor(parts: QueueRunnerParts) {
    this.#parts = parts;
    this.#chain = new Chain(parts.memory, Math.max(...parts.device.queueSizes));
    this.#queues = parts.configs.map(() => undefined);
    this.#held = parts.configs.map(() => []);
    this.#complete = (index, head, written) => {
      if (written === HOLD) this.#held[index].push(head);
      else this.#giveBack(this.#queues[index], head, written);
    };
  }

  get queues(): number {
    return this.#queues.length;
  }

  /**
   * A doorbell rang: serves up to a batch of requests. Returns after how many ms
   * there may be more: 0 asks for `settleEpoch` and this again, after the others;
   * Infinity means that the driver has offered no more. No doorbell will ring for
   * what it offers next before `arm` asks for it, or this has with `armed`.
   */
  serve(index: number, armed = false): number {
    const { transport, state } = this.#parts;
    this.served = 0;
    this.#given = 0;
    if (transport.epoch !== state.epoch) return 0;
    try {
      const queue = this.#queues[index] ?? this.#open(index);
      if (queue === undefined) return Number.POSITIVE_INFINITY;
      const more = this.#serveBatch(queue, index, armed);
      this.#finish();
      return more;
    } catch (error) {
      if (!(error instanceof BrokenQueue)) throw error;
      this.#giveUp(error);
      return Number.POSITIVE_INFINITY;
    }
  }

  /** Whether the driver has offered something in a queue: a look that costs next to nothing. */
  hasMore(index: number): boolean {
    return this.#queues[index]?.hasMore === true;
  }

  /**
   * Asks the driver to ring for what it offers next in a queue that `serve` left. True
   * if it has offered something meanwhile, for which nothing will ring: serve again.
   */
  arm(index: number): boolean {
    return this.#queues[index]?.armDoorbell() === true;
  }

  /** Gives back what the device has finished, and interrupts the driver if it wants to know. */
  poll(): void {
    this.#given = 0;
    this.#finish();
  }

  #finish(): void {
    if (!this.#active) return;
    this.#parts.device.poll?.(this.#complete);
    for (const queue of this.#queues) if (queue !== undefined) this.#interruptIfWanted(queue);
  }

  /**
   * Lets go of the queues if the driver took any away since the last call. True
   * if so: then whoever waits for it has to be woken. To be called on every wake;
   * nothing else settles an epoch, so that no waiter is forgotten.
   */
  settleEpoch(): boolean {
    const { transport, state, configs, cursors, lock } = this.#parts;
    // Without the lock: a change that is missed here comes with a wake of its own.
    if (transport.epoch === state.epoch) return false;
    this.quiesce();
    lock.acquire();
    try {
      configs.forEach((config, index) => {
        if (config.ready !== 0) return;
        const cursor = cursors[index];
        cursor.nextAvail = 0;
        cursor.nextUsed = 0;
        cursor.signalledUsed = 0;
        this.#held[index].length = 0;
      });
      state.epoch = transport.epoch;
    } finally {
      lock.release();
    }
    return true;
  }

  /**
   * Waits for what is pending and lets go of the queues where they stand, for a
   * snapshot. They open again with the next call of `serve`, which is due for each
   * queue: a doorbell that rang before is forgotten.
   */
  quiesce(): void {
    if (this.#active) {
      // A driver in a reset still has its hands off the rings: it waits for this.
      this.#parts.device.drain?.(this.#complete);
      for (const queue of this.#queues) if (queue !== undefined) this.#interruptIfWanted(queue);
      this.#parts.device.deactivate();
    }
    this.#active = false;
    this.#queues.fill(undefined);
  }

  /** The machine goes on after it stood still: what was held may be served now. */
  resume(): void {
    this.#parts.device.resume?.();
  }

  /** Changes the device's configuration and tells the driver. */
  reconfigure(change: () => void): void {
    const { transport, lock } = this.#parts;
    lock.acquire();
    try {
      change();
      transport.configChanged();
    } finally {
      lock.release();
    }
  }

  #serveBatch(queue: SplitQueue, index: number, armed: boolean): number {
    const { device, transport, state } = this.#parts;
    const chain = this.#chain;
    const held = this.#held[index];
    let begun = 0;
    queue.silenceDoorbell();
    for (let left = BATCH; left > 0; left--) {
      const wait = device.waitMs ?? 0;
      if (wait > 0) return wait;
      if (held.length > 0) {
        queue.reload(chain, held[0]);
        held.shift();
      } else if (!queue.pop(chain)) {
        if (!armed || !queue.armDoorbell()) return Number.POSITIVE_INFINITY;
        queue.silenceDoorbell();
        continue;
      }
      this.served++;
      const head = chain.head;
      const written = device.serve(index, chain);
      if (written === HOLD) held.unshift(head);
      else if (written !== PENDING) this.#giveBack(queue, head, written);
      else if (++begun % SLICE === 0) this.#finish();
      // The driver is waiting in a reset: what it has offered no longer counts.
      if (transport.epoch !== state.epoch) break;
    }
    return 0;
  }

  #giveBack(queue: SplitQueue | undefined, head: number, written: number): void {
    if (queue === undefined) return;
    queue.push(head, written);
    if (this.#given++ % SLICE === 0) this.#interruptIfWanted(queue);
  }

  #interruptIfWanted(queue: SplitQueue): void {
    if (!queue.wantsInterrupt()) return;
    const { transport, state, lock } = this.#parts;
    lock.acquire();
    try {
      if (transport.running && transport.epoch === state.epoch) transport.raiseUsed();
    } finally {
      lock.release();
    }
  }

  #open(index: number): SplitQueue | undefined {
    const { device, transport, configs, cursors, memory, lock, state } = this.#parts;
    let queue: SplitQueue;
    let featuresLow: number;
    let featuresHigh: number;
    lock.acquire();
    try {
      const config = configs[index];
      if (!transport.running || config.ready === 0 || transport.epoch !== state.epoch) return undefined;
      featuresLow = transport.driverFeaturesLow;
      featuresHigh = transport.driverFeaturesHigh;
      queue = new SplitQueue(memory, config, cursors[index], device.queueSizes[index], featuresLow);
    } finally {
      lock.release();
    }
    if (!this.#active) device.activate(featuresLow, featuresHigh);
    this.#active = true;
    this.#queues[index] = queue;
    return queue;
  }

  /** The driver broke a queue: the device stops until it is reset. */
  #giveUp(error: BrokenQueue): void {
    const { transport, state, lock, name, report } = this.#parts;
    this.quiesce();
    for (const held of this.#held) held.length = 0;
    lock.acquire();
    try {
      // A driver that took the queue away meanwhile was free to write over it.
      if (transport.epoch !== state.epoch) return;
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
