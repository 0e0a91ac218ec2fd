/** The program's side of a watched card: passes its frames to those who watch. */
import { FrameRing } from "./frame-ring.ts";
import { MAX_FRAME_BYTES } from "./offloads.ts";
import {
  type FrameWatchData,
  WATCH_HEADER_BYTES,
  WATCH_INBOUND,
  WATCH_LOST,
  WATCH_ON,
  WATCH_TIME,
} from "./watch-backend.ts";

/** Frames in a row before timers and sockets have their turn. */
const BATCH = 256;
/** Bytes of frames that wait for the program, a power of two. Memory that no frame has used is not taken. */
const RING_CAPACITY = 1 << 22;

/** Valid only during the call that passes it. */
export interface WatchedFrame {
  readonly isInbound: boolean;
  /** ms since 1970, with a fraction. */
  readonly timeMs: number;
  readonly bytes: Uint8Array;
}

export type FrameWatcher = (frame: WatchedFrame) => void;

export class FrameWatch {
  readonly data: FrameWatchData = {
    ring: new SharedArrayBuffer(FrameRing.bytes(RING_CAPACITY)),
    state: new SharedArrayBuffer(8),
  };
  readonly #ring = new FrameRing(this.data.ring);
  readonly #view = new DataView(this.#ring.bytes.buffer, this.#ring.bytes.byteOffset);
  readonly #state = new Uint32Array(this.data.state);
  readonly #watchers = new Set<FrameWatcher>();
  /** A copy, as Node's functions do not all take shared memory. */
  readonly #bytes = new Uint8Array(MAX_FRAME_BYTES);
  readonly #frame = { isInbound: false, timeMs: 0, bytes: this.#bytes };
  #isScheduled = false;

  /** Frames that nobody could be shown, because the program was too slow. */
  get lost(): number {
    return this.#state[WATCH_LOST];
  }

  /** Frames go to `watcher` from now on. @returns what ends that: the frames until then still come */
  watch(watcher: FrameWatcher): () => void {
    // What came after the last watcher had gone is not for this one.
    if (this.#watchers.size === 0) while (this.#ring.next()) this.#ring.release();
    this.#watchers.add(watcher);
    this.#state[WATCH_ON] = 1;
    if (!this.#isScheduled) this.#serve();
    return () => {
      if (!this.#watchers.has(watcher)) return;
      this.drain();
      this.#watchers.delete(watcher);
      if (this.#watchers.size === 0) this.#state[WATCH_ON] = 0;
    };
  }

  /** The io thread has frames. */
  wake(): void {
    if (!this.#isScheduled && this.#watchers.size > 0) this.#serve();
  }

  /** Passes all frames that are there. */
  drain(): void {
    while (this.#ring.next()) this.#pass();
  }

  #serve(): void {
    this.#isScheduled = false;
    for (let count = 0; count < BATCH; count++) {
      if (this.#ring.next()) this.#pass();
      else if (this.#ring.arm()) return;
    }
    this.#isScheduled = true;
    setImmediate(() => this.#serve());
  }

  #pass(): void {
    const { start, length, bytes } = this.#ring;
    const frame = this.#frame;
    const size = length - WATCH_HEADER_BYTES;
    this.#bytes.set(bytes.subarray(start + WATCH_HEADER_BYTES, start + length));
    frame.isInbound = this.#view.getUint8(start + WATCH_INBOUND) !== 0;
    frame.timeMs = this.#view.getFloat64(start + WATCH_TIME, true);
    frame.bytes = this.#bytes.subarray(0, size);
    this.#ring.release();
    for (const watcher of this.#watchers) watcher(frame);
  }
}
