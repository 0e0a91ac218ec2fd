/**
 * One role of one machine on a thread, from its owner's side: on a thread of its own,
 * or on one that serves several machines.
 */
import type { Worker } from "node:worker_threads";
import type { Message, PartOrder, ThreadData, TraceOrder } from "./shared.ts";
import { returnThread, takeThread } from "./spare.ts";

export interface Seat {
  /** The thread takes the order when it needs it. Nothing happens once the role has ended. */
  post(order: TraceOrder | PartOrder): void;
  /** Makes a thread that serves several machines read the control words of all of them. */
  wake(): void;
  /** While it is referenced, it keeps the program alive. It is not at first. */
  ref(): void;
}

export interface SeatListener {
  message(message: Message): void;
  /** The role ends by an error: a bug of the monitor, or a module that cannot be loaded. */
  failed(error: Error): void;
  /** The thread has nothing of the machine any more. */
  ended(): void;
}

export type TakeSeat = (data: ThreadData, listener: SeatListener) => Seat;

/** A thread for this role alone. */
export const ownSeat: TakeSeat = (data, listener) => {
  // Until the role has ended. The thread then is somebody else's.
  let worker: Worker | undefined = takeThread();
  const thread = worker;
  const ended = () => {
    worker = undefined;
    // By name: the Worker's own listeners stay.
    for (const event of ["message", "error", "exit"]) thread.removeAllListeners(event);
    listener.ended();
  };
  thread.on("message", (message: Message) => {
    if (message.kind !== "free") return listener.message(message);
    ended();
    returnThread(thread);
  });
  thread.on("error", (error) => listener.failed(error instanceof Error ? error : new Error(String(error))));
  thread.once("exit", ended);
  thread.unref(); // a message listener keeps the program alive, and a machine that never starts must not
  thread.postMessage(data);
  return {
    post: (order) => worker?.postMessage(order),
    wake() {},
    ref: () => worker?.ref(),
  };
};
