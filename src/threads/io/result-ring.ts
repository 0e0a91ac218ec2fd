/** Results of requests on their way from the program's thread, which puts, to the io thread, which takes. */
import { RingCounters } from "../../base/ring.ts";

/** Of each slot: tag, result. */
const SLOT_WORDS = 2;

export class ResultRing {
  /** After `take`: which request it was, and what came of it. */
  tag = 0;
  result = 0;
  readonly #counters: RingCounters;
  readonly #slots: Int32Array;

  /** Room for the results of as many tags, each of which is in flight once at most. */
  static bytes(tags: number): number {
    return 4 * (RingCounters.WORDS + SLOT_WORDS * 2 ** Math.ceil(Math.log2(tags)));
  }

  /** @param buffer all zero at first; `ResultRing.bytes(tags)` long */
  constructor(buffer: SharedArrayBuffer) {
    const words = new Int32Array(buffer);
    this.#slots = words.subarray(RingCounters.WORDS);
    this.#counters = new RingCounters(words, this.#slots.length / SLOT_WORDS);
  }

  put(tag: number, result: number): void {
    const at = SLOT_WORDS * this.#counters.free;
    this.#slots[at] = tag;
    this.#slots[at + 1] = result;
    this.#counters.publish();
    this.#counters.notifyConsumer();
  }

  /** Takes the next result. False if there is none. */
  take(): boolean {
    if (this.#counters.length === 0) return false;
    const at = SLOT_WORDS * this.#counters.oldest;
    this.tag = this.#slots[at];
    this.result = this.#slots[at + 1];
    this.#counters.release(1);
    return true;
  }

  /** Sleeps until there is a next one, for at most `timeoutMs`. */
  wait(timeoutMs: number): void {
    this.#counters.waitForMore(timeoutMs);
  }
}
