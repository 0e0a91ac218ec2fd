/**
 * A byte queue in shared memory from one producer to one consumer.
 *
 * The producer may be any thread that holds the device's lock; the consumer is
 * one thread. Neither takes a lock to use the ring, and neither makes a system
 * call unless the other is asleep.
 *
 * Both sides use the same two-word handshake to sleep: the sleeper sets a flag and
 * then reads the other side's counter once more; the other side stores its counter
 * and then reads the flag. Bytes are plain stores, published by the counter's store.
 *
 * No wake-up is lost. Atomics have one order, in which one of the two reads is last:
 * it sees the other side's store. So the sleeper finds the new count and does not
 * sleep, or the other side finds the flag and wakes it. That wake-up finds a sleeper
 * or prevents the sleep. The producer sleeps by Atomics.wait on HEAD with the value
 * that it checked, which compares and enqueues in the critical section that notify
 * needs too (ECMA-262, Atomics.wait). The consumer must sleep on what remembers: the
 * queue of an event loop, an eventfd, a word that it read before `arm`.
 */
import { isPowerOfTwo } from "./power-of-two.ts";

// Words. The two sides' counters are in cache lines of their own.
const TAIL = 0; // bytes ever put, modulo 2^32; written by the producer
const PRODUCER_WAITS = 1;
const HEAD = 16; // bytes ever taken, modulo 2^32; written by the consumer
const CONSUMER_ARMED = 17;
const HEADER_WORDS = 32;

export class ByteRing {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;

  /** The number of shared words a ring of `capacity` bytes needs. */
  static words(capacity: number): number {
    return HEADER_WORDS + Math.ceil(capacity / 4);
  }

  /**
   * @param words all zero at first, over a SharedArrayBuffer; `ByteRing.words(capacity)` of them
   * @throws {RangeError} unless the capacity is a power of two, 4 or more.
   */
  constructor(words: Int32Array) {
    const capacity = (words.length - HEADER_WORDS) * 4;
    if (capacity < 4 || !isPowerOfTwo(capacity)) {
      throw new RangeError(`a ring of ${capacity} bytes: the capacity must be a power of two`);
    }
    this.#words = words;
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset + HEADER_WORDS * 4, capacity);
    this.#mask = capacity - 1;
  }

  get capacity(): number {
    return this.#mask + 1;
  }

  /** Bytes put and not yet taken. */
  get length(): number {
    return (Atomics.load(this.#words, TAIL) - Atomics.load(this.#words, HEAD)) >>> 0;
  }

  /** Producer: adds one byte. False, and nothing happens, if the ring is full. */
  put(byte: number): boolean {
    const tail = Atomics.load(this.#words, TAIL);
    if ((tail - Atomics.load(this.#words, HEAD)) >>> 0 > this.#mask) return false;
    this.#bytes[tail & this.#mask] = byte;
    Atomics.store(this.#words, TAIL, (tail + 1) | 0);
    return true;
  }

  /**
   * Producer, after `put`: true if the consumer asked to be woken, once for each
   * request. The caller then wakes the consumer.
   */
  takeArmed(): boolean {
    return (
      Atomics.load(this.#words, CONSUMER_ARMED) !== 0 &&
      Atomics.exchange(this.#words, CONSUMER_ARMED, 0) !== 0
    );
  }

  /** Producer: sleeps until there is room, for at most `timeoutMs`. True if there is room now. */
  waitForRoom(timeoutMs: number): boolean {
    const head = Atomics.load(this.#words, HEAD);
    if ((Atomics.load(this.#words, TAIL) - head) >>> 0 <= this.#mask) return true;
    Atomics.store(this.#words, PRODUCER_WAITS, 1);
    Atomics.wait(this.#words, HEAD, head, timeoutMs);
    Atomics.store(this.#words, PRODUCER_WAITS, 0);
    return this.length <= this.#mask;
  }

  /** Consumer: moves as many bytes as there are and fit, oldest first; @returns how many. */
  take(into: Uint8Array): number {
    const head = Atomics.load(this.#words, HEAD);
    const count = Math.min(into.length, (Atomics.load(this.#words, TAIL) - head) >>> 0);
    if (count === 0) return 0;
    const start = head & this.#mask;
    const untilEnd = Math.min(count, this.#bytes.length - start);
    into.set(this.#bytes.subarray(start, start + untilEnd));
    into.set(this.#bytes.subarray(0, count - untilEnd), untilEnd);
    Atomics.store(this.#words, HEAD, (head + count) | 0);
    if (Atomics.load(this.#words, PRODUCER_WAITS) !== 0) Atomics.notify(this.#words, HEAD, 1);
    return count;
  }

  /**
   * Consumer, before it sleeps: asks to be woken by the next `put`. False, without
   * a request, if there is something to take already.
   */
  arm(): boolean {
    Atomics.store(this.#words, CONSUMER_ARMED, 1);
    if (this.length === 0) return true;
    Atomics.store(this.#words, CONSUMER_ARMED, 0);
    return false;
  }
}
