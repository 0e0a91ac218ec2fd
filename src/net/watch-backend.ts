/**
 * Shows the frames of a card to the program, whatever the card is connected to. On the
 * io thread: while somebody watches, each frame is copied to a ring. The card never
 * waits for the reader; frames that do not fit are counted and left out.
 */
import type { Pieces } from "../base/pieces.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { NetBackend } from "./backend.ts";
import { FrameRing } from "./frame-ring.ts";
import { copyFrame } from "./guest-frame.ts";
import { NET_HEADER_BYTES } from "./offloads.ts";

// Before each frame in the ring.
export const WATCH_HEADER_BYTES = 16;
/** A byte: 1 for a frame to the guest. */
export const WATCH_INBOUND = 0;
/** A double: ms since 1970. */
export const WATCH_TIME = 8;

// Words of `state`.
export const WATCH_ON = 0;
export const WATCH_LOST = 1;

/** What both threads have of a card that may be watched. */
export interface FrameWatchData {
  readonly ring: SharedArrayBuffer;
  readonly state: SharedArrayBuffer;
}

export class WatchBackend implements NetBackend {
  readonly arrivals: readonly object[];
  readonly vacancies: readonly object[] | undefined;
  readonly #backend: NetBackend;
  readonly #memory: GuestMemory;
  readonly #ring: FrameRing;
  readonly #view: DataView;
  readonly #state: Uint32Array;
  readonly #wake: () => void;

  /** @param wake wakes the program's thread */
  constructor(backend: NetBackend, memory: GuestMemory, { ring, state }: FrameWatchData, wake: () => void) {
    this.arrivals = backend.arrivals;
    this.vacancies = backend.vacancies;
    this.#backend = backend;
    this.#memory = memory;
    this.#ring = new FrameRing(ring);
    this.#view = new DataView(this.#ring.bytes.buffer, this.#ring.bytes.byteOffset);
    this.#state = new Uint32Array(state);
    this.#wake = wake;
  }

  send(pair: number, header: Uint8Array, frame: Pieces): number {
    if (this.#state[WATCH_ON] === 0) return this.#backend.send(pair, header, frame);
    // A card that has copied the frame has all of it behind the header.
    const copied = header.length - NET_HEADER_BYTES;
    const isShown = this.#begin(copied + frame.bytes, 0);
    if (isShown) {
      const { bytes, start } = this.#ring;
      const at = start + WATCH_HEADER_BYTES;
      if (copied > 0) bytes.set(header.subarray(NET_HEADER_BYTES), at);
      copyFrame(this.#memory, frame, bytes, at + copied);
    }
    const result = this.#backend.send(pair, header, frame);
    // The place in the ring is only taken if the frame has left.
    if (result >= 0) this.#end(isShown);
    return result;
  }

  receive(pair: number, into: Uint8Array): number {
    const length = this.#backend.receive(pair, into);
    if (this.#state[WATCH_ON] === 0 || length <= NET_HEADER_BYTES) return length;
    const isShown = this.#begin(length - NET_HEADER_BYTES, 1);
    if (isShown) {
      const { bytes, start } = this.#ring;
      bytes.set(into.subarray(NET_HEADER_BYTES, length), start + WATCH_HEADER_BYTES);
    }
    this.#end(isShown);
    return length;
  }

  accept(offloads: number): void {
    this.#backend.accept(offloads);
  }

  usePairs(pairs: number): void {
    this.#backend.usePairs?.(pairs);
  }

  close(): void {
    this.#backend.close();
  }

  /** False if there is no room for a frame of `length` bytes. */
  #begin(length: number, inbound: number): boolean {
    const ring = this.#ring;
    if (!ring.reserve(WATCH_HEADER_BYTES + length)) return false;
    this.#view.setUint8(ring.start + WATCH_INBOUND, inbound);
    this.#view.setFloat64(ring.start + WATCH_TIME, performance.timeOrigin + performance.now(), true);
    return true;
  }

  #end(isShown: boolean): void {
    if (!isShown) this.#state[WATCH_LOST]++;
    else if (this.#ring.publish()) this.#wake();
  }
}
