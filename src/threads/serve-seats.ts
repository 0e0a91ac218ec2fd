/** What threads that serve several machines have in common: they begin the roles that come, and end them. */
import { type Inbox, type SeatMessage, type SeatOrder, seatFailure } from "./inbox.ts";
import type { Message, PartOrder, TraceOrder } from "./shared.ts";

/** The way from one seat to its owner, and from its owner to it. */
export interface SeatPort {
  post(message: Message): void;
  takeOrder(): TraceOrder | PartOrder | undefined;
  /** The role ends by an error; `free` follows. */
  failed(error: unknown): void;
  /** The thread has nothing of the machine any more. */
  free(): void;
}

/**
 * Begins the first role, and those that came meanwhile.
 *
 * @param post sends a message to the owner of a seat
 * @param begin if it throws, the seat is free again
 */
export async function beginSeats(
  first: SeatOrder | undefined,
  inbox: Inbox,
  post: (message: SeatMessage) => void,
  begin: (order: SeatOrder, port: SeatPort) => Promise<void>,
): Promise<void> {
  for (let order = first; order !== undefined; order = inbox.takeSeat()) {
    const port = seatPort(order.seat, inbox, post);
    try {
      await begin(order, port);
    } catch (error) {
      port.failed(error);
      port.free();
    }
  }
}

function seatPort(seat: number, inbox: Inbox, send: (message: SeatMessage) => void): SeatPort {
  const post = (message: SeatMessage["message"]) => send({ seat, message });
  return {
    post,
    takeOrder: () => inbox.takeOrder(seat),
    failed: (error) => post(seatFailure(error)),
    free() {
      inbox.forget(seat);
      post({ kind: "free" });
    },
  };
}
