/** The card's end of a network that runs on the program's thread. On the io thread. */
import { EAGAIN } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { EventFd } from "../sys/event.ts";
import type { NetBackend } from "./backend.ts";
import { FrameRing, type FrameRings } from "./frame-ring.ts";
import { copyFrame } from "./guest-frame.ts";

export class RingBackend implements NetBackend {
  readonly arrivals: readonly EventFd[];
  readonly vacancies: readonly EventFd[];
  readonly #toNetwork: FrameRing;
  readonly #toGuest: FrameRing;
  readonly #accepts: Uint32Array;
  readonly #memory: GuestMemory;
  readonly #wake: () => void;

  /** @param wake wakes the program's thread */
  constructor(rings: FrameRings, memory: GuestMemory, wake: () => void) {
    this.arrivals = [EventFd.attach(rings.arrival)];
    this.vacancies = [EventFd.attach(rings.vacancy)];
    this.#toNetwork = new FrameRing(rings.toNetwork);
    this.#toGuest = new FrameRing(rings.toGuest);
    this.#accepts = new Uint32Array(rings.accepts);
    this.#memory = memory;
    this.#wake = wake;
  }

  send(_pair: number, header: Uint8Array, frame: Pieces): number {
    const ring = this.#toNetwork;
    const length = header.length + frame.bytes;
    while (!ring.reserve(length)) if (ring.armForRoom(length)) return EAGAIN;
    ring.bytes.set(header, ring.start);
    copyFrame(this.#memory, frame, ring.bytes, ring.start + header.length);
    if (ring.publish()) this.#wake();
    return length;
  }

  receive(_pair: number, into: Uint8Array): number {
    const ring = this.#toGuest;
    while (!ring.next()) if (ring.arm()) return EAGAIN;
    const { start, length } = ring;
    into.set(ring.bytes.subarray(start, start + length));
    if (ring.release()) this.#wake();
    return length;
  }

  accept(offloads: number): void {
    this.#accepts[0] = offloads;
  }

  close(): void {
    for (const event of [...this.arrivals, ...this.vacancies]) event.close();
  }
}
