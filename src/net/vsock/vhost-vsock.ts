/**
 * The queues of a vsock device that the host's kernel serves: both or none. On the io
 * thread.
 *
 * Source: drivers/vhost/vsock.c of Linux.
 */
import { SystemError } from "../../sys/errors.ts";
import { EventFd } from "../../sys/event.ts";
import type { GuestRam } from "../../sys/guest-ram.ts";
import { Vhost } from "../../sys/vhost.ts";

/** F_INDIRECT_DESC and F_EVENT_IDX. */
const RING_FEATURES = (1 << 28) | (1 << 29);
const F_VERSION_1_HIGH = 1;

type Place = Parameters<Vhost["setRing"]>[1];
type Region = Parameters<Vhost["setMemory"]>[1][number];

interface VhostVsockParts {
  readonly token: number;
  readonly ram: GuestRam;
  readonly regions: readonly Region[];
  /** For the user: why the kernel serves nothing. */
  readonly note: (message: string) => void;
}

export class VhostVsock {
  readonly #parts: VhostVsockParts;
  readonly #vhost: Vhost;
  readonly #calls = [EventFd.create(), EventFd.create()];
  readonly #failed = EventFd.create();
  readonly #kicks: (EventFd | undefined)[] = [undefined, undefined];
  #isRunning = false;

  constructor(parts: VhostVsockParts) {
    this.#parts = parts;
    this.#vhost = Vhost.attach(parts.token);
  }

  get events() {
    return [
      ...this.#calls.map((bell, used) => ({ bell, kernel: { used } })),
      { bell: this.#failed, kernel: { failed: () => this.#failed.take() > 0 } },
    ];
  }

  start(
    index: number,
    place: Place,
    nextAvail: number,
    { low, high }: { readonly low: number; readonly high: number },
    kick: object,
  ): boolean {
    const { ram, regions, note } = this.#parts;
    const vhost = this.#vhost;
    const kicks = this.#kicks;
    if (!(kick instanceof EventFd)) throw new TypeError("a doorbell is not an event");
    try {
      if (kicks[0] === undefined && kicks[1] === undefined) {
        vhost.setMemory(ram, regions);
        vhost.setFeatures(low & RING_FEATURES, high & F_VERSION_1_HIGH);
      }
      vhost.setRing(index, place, nextAvail);
      vhost.setEvents(index, kick, this.#calls[index], this.#failed);
      kicks[index] = kick;
      if (kicks[0] !== undefined && kicks[1] !== undefined) {
        vhost.setRunning(true);
        this.#isRunning = true;
        for (const each of kicks) each?.signal();
      }
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      kicks[index] = undefined;
      note(`${error.message}. The guest has no vsock`);
      return false;
    }
    return true;
  }

  kick(index: number): void {
    if (this.#isRunning) this.#kicks[index]?.signal();
  }

  stop(index: number): number {
    if (this.#isRunning) this.#vhost.setRunning(false);
    this.#isRunning = false;
    this.#kicks[index] = undefined;
    return this.#vhost.ringBase(index);
  }

  close(): void {
    this.#vhost.forgetMemory();
    this.#vhost.close();
    for (const event of [...this.#calls, this.#failed]) event.close();
  }
}
