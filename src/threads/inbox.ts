/**
 * What the owners of machines send to a thread that serves several of them. Each
 * machine's role on the thread is a seat, and has a number.
 */
import type { Message, PartOrder, ThreadData, TraceOrder } from "./shared.ts";

/** To the thread. */
export type Delivery =
  | SeatOrder
  | { readonly kind: "order"; readonly seat: number; readonly order: TraceOrder | PartOrder };

/** A role to begin with. */
export interface SeatOrder {
  readonly kind: "seat";
  readonly seat: number;
  readonly data: ThreadData;
  /** Token of what wakes the thread: an ExitQueue for vCPUs, an event for I/O. */
  readonly wake: number;
}

/** From the thread. */
export interface SeatMessage {
  readonly seat: number;
  readonly message: Message | SeatFailure;
}

/** From the thread: it has no seat, and takes its next message as a thread without a role does. */
export interface IdleMessage {
  readonly seat?: undefined;
}

/** The role ends by an error, a bug of the monitor; `free` follows. As data, because an error loses its class. */
export interface SeatFailure {
  readonly kind: "failed";
  readonly message: string;
  readonly stack: string | undefined;
}

export function seatFailure(error: unknown): SeatFailure {
  if (!(error instanceof Error)) return { kind: "failed", message: String(error), stack: undefined };
  return { kind: "failed", message: error.message, stack: error.stack };
}

/** The thread's end: sorts deliveries by seat. */
export class Inbox {
  readonly #next: () => Delivery | undefined;
  readonly #newcomers: SeatOrder[] = [];
  readonly #orders = new Map<number, (TraceOrder | PartOrder)[]>();

  /** @param next returns the next delivery, if there is one */
  constructor(next: () => Delivery | undefined) {
    this.#next = next;
  }

  /** The next role to begin with. */
  takeSeat(): SeatOrder | undefined {
    this.#sort();
    return this.#newcomers.shift();
  }

  /** The next order to a seat. */
  takeOrder(seat: number): TraceOrder | PartOrder | undefined {
    this.#sort();
    return this.#orders.get(seat)?.shift();
  }

  forget(seat: number): void {
    this.#orders.delete(seat);
  }

  #sort(): void {
    for (let delivery = this.#next(); delivery !== undefined; delivery = this.#next()) {
      if (delivery.kind === "seat") {
        this.#newcomers.push(delivery);
        continue;
      }
      const orders = this.#orders.get(delivery.seat);
      if (orders === undefined) this.#orders.set(delivery.seat, [delivery.order]);
      else orders.push(delivery.order);
    }
  }
}
