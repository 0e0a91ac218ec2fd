/** Event descriptors as bells, and epoll to sleep on them. */
import { type Bell, NEVER } from "../../bus/io-task.ts";
import { Epoll, Waitable } from "../../sys/event.ts";
import type { Poller } from "./reactor.ts";

export class EpollPoller implements Poller {
  readonly #epoll = new Epoll();

  add(bell: Bell, tag: number): void {
    this.#epoll.add(eventOf(bell), tag);
  }

  remove(bell: Bell): void {
    this.#epoll.remove(eventOf(bell));
  }

  wait(tags: Uint32Array, timeoutMs: number): number {
    return this.#epoll.wait(tags, timeoutMs === NEVER ? -1 : timeoutMs);
  }

  close(): void {
    this.#epoll.close();
  }
}

function eventOf(bell: Bell): Waitable {
  if (bell instanceof Waitable) return bell;
  throw new TypeError("a bell on the io thread is an event or a descriptor of frames");
}
