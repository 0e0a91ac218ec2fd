/**
 * Queues that the host's kernel serves in place of the device (vhost): when it starts,
 * and how a queue comes back.
 *
 * The kernel gets a queue where its cursor stands, and returns it with no request in
 * flight, so both indices of the cursor are then what the kernel says. It keeps no
 * record of the pages that it writes. So while somebody wants that record, the device
 * serves; and if a queue comes back only after that began, all of RAM counts as written.
 */
import type { Bell } from "../../bus/io-task.ts";
import type { DirtySink } from "../../memory/dirty-sink.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { VirtioDevice } from "../device.ts";
import type { QueueCursor, RingPlace } from "./split-queue.ts";

/** Starts and stops the kernel's side of a device's queues. */
export interface KernelQueues {
  /** False while something wants to see the requests. Without it: true. */
  readonly mayServe?: boolean;
  /**
   * The kernel serves queue `index` from now on.
   *
   * @param nextAvail the index in the available ring that comes next
   * @param kick what the driver's notification signals
   * @returns false if it cannot; then nothing has changed
   */
  start(
    index: number,
    place: RingPlace,
    nextAvail: number,
    features: { readonly low: number; readonly high: number },
    kick: Bell,
  ): boolean;
  /** As a notification of the driver. */
  kick(index: number): void;
  /** The kernel has no request of the queue when this returns. @returns the index that comes next */
  stop(index: number): number;
}

export interface HandoverParts {
  readonly device: VirtioDevice;
  readonly cursors: readonly QueueCursor[];
  readonly memory: GuestMemory;
  readonly dirty?: DirtySink | undefined;
  readonly kernelQueues?: KernelQueues | undefined;
  /** By queue. */
  readonly doorbells?: readonly Bell[];
  /** The bells of a queue that the kernel serves are for the kernel alone. */
  readonly listen?: (queue: number, on: boolean) => void;
}

/** Which queues of one device the kernel serves. */
export class KernelHandover {
  readonly #parts: HandoverParts;
  readonly #serves: boolean[];
  /** The kernel could not serve a queue that this driver made. */
  #refused = false;

  constructor(parts: HandoverParts) {
    this.#parts = parts;
    this.#serves = parts.cursors.map(() => false);
  }

  serves(index: number): boolean {
    return this.#serves[index];
  }

  /** Whether the kernel may serve it now. */
  may(index: number): boolean {
    const { device, dirty, kernelQueues } = this.#parts;
    if (kernelQueues === undefined || this.#refused || dirty?.on === true) return false;
    return kernelQueues.mayServe !== false && device.leavesToKernel?.(index) === true;
  }

  /** True if the kernel serves the queue now. */
  start(index: number, place: RingPlace, featuresLow: number, featuresHigh: number): boolean {
    const { kernelQueues, cursors, doorbells = [], listen } = this.#parts;
    if (kernelQueues === undefined || !this.may(index)) return false;
    const features = { low: featuresLow, high: featuresHigh };
    const { nextAvail } = cursors[index];
    if (!kernelQueues.start(index, place, nextAvail, features, doorbells[index])) {
      this.#refused = true;
      return false;
    }
    this.#serves[index] = true;
    listen?.(index, false);
    // For what the driver offered before.
    kernelQueues.kick(index);
    return true;
  }

  kick(index: number): void {
    this.#parts.kernelQueues?.kick(index);
  }

  /** The device serves it again. True if the kernel did so until now. */
  stop(index: number): boolean {
    const { kernelQueues, cursors, memory, dirty, listen } = this.#parts;
    if (kernelQueues === undefined || !this.#serves[index]) return false;
    const next = kernelQueues.stop(index);
    const cursor = cursors[index];
    cursor.nextAvail = next;
    cursor.nextUsed = next;
    cursor.signalledUsed = next;
    this.#serves[index] = false;
    if (dirty?.on === true) for (const { offset, size } of memory.regions) dirty.mark(offset, size);
    listen?.(index, true);
    return true;
  }

  /** The kernel reports a queue that it cannot serve. The device finds out what is wrong with it. */
  refuse(): void {
    this.#refused = true;
  }

  /** The driver begins anew. */
  forgive(): void {
    this.#refused = false;
  }
}
