/** The card as a task of the io thread: what the driver sends, what comes for it, and its interrupts. */
import { AGAIN, type Bell, type IoTask } from "../bus/io-task.ts";
import type { CardIo } from "./card-io.ts";
import { type Interrupts, Throttle } from "./interrupts.ts";
import { Receiver } from "./receive.ts";
import { Transmitter } from "./transmit.ts";

/** Bells: the driver's writes, which are exits and ring nothing here, then frames, then room for frames. */
const RECEIVE = 1;

export interface E1000TaskParts extends CardIo {
  readonly interrupts: Interrupts;
  /** ms, from any start. */
  readonly now: () => number;
}

export class E1000Task implements IoTask {
  readonly name: string;
  readonly bells: readonly (Bell | undefined)[];
  readonly #io: CardIo;
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;
  readonly #throttle: Throttle;

  constructor(parts: E1000TaskParts) {
    const { name, backend, regs, interrupts, now } = parts;
    this.name = name;
    this.#io = parts;
    this.bells = [undefined, backend.arrivals[0], ...(backend.vacancies ?? [])];
    this.#transmitter = new Transmitter(parts);
    this.#receiver = new Receiver(parts);
    this.#throttle = new Throttle(regs, interrupts, now);
  }

  turn(bell: number): number {
    const again = bell === RECEIVE ? this.#receiver.turn() : this.#transmitter.turn();
    const causes = this.#transmitter.takeCauses() | this.#receiver.takeCauses();
    const { lock } = this.#io;
    lock.acquire();
    const delay = this.#throttle.raise(causes);
    lock.release();
    return again === AGAIN || delay === 0 ? again : Math.min(again, delay);
  }

  quiesce(): void {
    const { lock } = this.#io;
    lock.acquire();
    this.#throttle.release();
    lock.release();
  }

  resume(): void {
    // Complete frames, of the usual length.
    this.#io.backend.accept(0);
  }

  close(): void {
    this.#io.backend.close();
  }
}
