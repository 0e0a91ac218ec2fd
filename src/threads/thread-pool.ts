/**
 * Threads that serve several machines. There are at most as many as they need: for
 * vCPUs one for each CPU of the host, for devices half as many. A vCPU thread waits
 * for an io thread when a driver disables queues, so none is both.
 */
import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import { ExitQueue } from "../kvm/exit-queue.ts";
import { EventFd } from "../sys/event.ts";
import type { Delivery, IdleMessage, SeatMessage } from "./inbox.ts";
import type { Seat, SeatListener, TakeSeat } from "./seat.ts";
import type { ThreadData } from "./shared.ts";
import { returnThread, takeThread } from "./spare.ts";

/** How long a vCPU may keep a thread while others wait: some tens of exits, and many times what a change costs. */
const SHARE_US = 500;

/** What wakes a thread. */
interface Wake {
  readonly token: number;
  wake(): void;
  close(): void;
}

/** Numbers of seats, which are tags of exit queues. */
let lastSeat = 0;

class PooledThread {
  readonly seats = new Map<number, { readonly listener: SeatListener; isReferenced: boolean }>();
  readonly #worker: Worker;
  readonly #wake: Wake;
  readonly #free: (thread: PooledThread) => void;

  /** @param free called when the thread is idle without a seat, or has ended */
  constructor(wake: Wake, free: (thread: PooledThread) => void) {
    this.#wake = wake;
    this.#free = free;
    this.#worker = takeThread();
    this.#worker.on("message", (delivered: SeatMessage | IdleMessage) => {
      if (delivered.seat === undefined) return this.#idle();
      const { seat, message } = delivered;
      const listener = this.seats.get(seat)?.listener;
      if (message.kind === "free") this.#remove(seat);
      else if (message.kind === "failed") listener?.failed(errorOf(message.message, message.stack));
      else listener?.message(message);
    });
    // None of them continues without its thread.
    this.#worker.on("error", (error) => {
      const reason = error instanceof Error ? error : new Error(String(error));
      for (const { listener } of this.seats.values()) listener.failed(reason);
    });
    this.#worker.once("exit", () => {
      this.#free(this);
      for (const seat of [...this.seats.keys()]) this.#take(seat)?.ended();
      this.#wake.close();
    });
    this.#worker.unref();
  }

  add(data: ThreadData, listener: SeatListener): Seat {
    const seat = lastSeat++;
    const entry = { listener, isReferenced: false };
    this.seats.set(seat, entry);
    this.#post({ kind: "seat", seat, data, wake: this.#wake.token });
    this.#wake.wake();
    return {
      post: (order) => {
        if (this.seats.has(seat)) this.#post({ kind: "order", seat, order });
      },
      wake: () => {
        if (this.seats.has(seat)) this.#wake.wake();
      },
      ref: () => {
        if (!this.seats.has(seat)) return;
        entry.isReferenced = true;
        this.#worker.ref();
      },
    };
  }

  #post(delivery: Delivery): void {
    this.#worker.postMessage(delivery);
  }

  #take(seat: number): SeatListener | undefined {
    const listener = this.seats.get(seat)?.listener;
    this.seats.delete(seat);
    return listener;
  }

  #remove(seat: number): void {
    const listener = this.#take(seat);
    if (![...this.seats.values()].some(({ isReferenced }) => isReferenced)) this.#worker.unref();
    listener?.ended();
  }

  /** The thread waits for a role. A seat that it was sent meanwhile is one. */
  #idle(): void {
    if (this.seats.size > 0) return;
    this.#free(this);
    for (const event of ["message", "error", "exit"]) this.#worker.removeAllListeners(event);
    this.#wake.close();
    returnThread(this.#worker);
  }
}

function errorOf(message: string, stack: string | undefined): Error {
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

function pool(most: number, wakeOf: () => Wake): TakeSeat {
  const threads = new Set<PooledThread>();
  return (data, listener) => {
    let least: PooledThread | undefined;
    for (const thread of threads) {
      if (least === undefined || thread.seats.size < least.seats.size) least = thread;
    }
    if (least === undefined || (least.seats.size > 0 && threads.size < most)) {
      least = new PooledThread(wakeOf(), (thread) => threads.delete(thread));
      threads.add(least);
    }
    return least.add(data, listener);
  };
}

const cpus = availableParallelism();

/** A share of a thread that serves vCPUs. */
export const pooledVcpuSeat = pool(cpus, () => ExitQueue.create(SHARE_US));

/** A share of a thread that serves devices. */
export const pooledIoSeat = pool(Math.ceil(cpus / 2), () => {
  const event = EventFd.create();
  return { token: event.token, wake: () => event.signal(), close: () => event.close() };
});
