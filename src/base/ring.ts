/**
 * Rings in shared memory from one producer to one consumer: their two counters,
 * and how each side sleeps. What lies in the slots is the caller's.
 *
 * The producer may be any thread that holds the device's lock; the consumer is
 * one thread. Neither takes a lock to use the ring, and neither makes a system
 * call unless the other is asleep.
 *
 * Both sides use the same two-word handshake to sleep: the sleeper sets a flag and
 * then reads the other side's counter once more; the other side stores its counter
 * and then reads the flag. Slots are plain stores, published by the counter's store.
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
const TAIL = 0; // slots ever filled, modulo 2^32; written by the producer
const PRODUCER_WAITS = 1;
const PRODUCER_ARMED = 2; // it asked to be woken, and does not wait
const HEAD = 16; // slots ever freed, modulo 2^32; written by the consumer
const CONSUMER_ARMED = 17;
const HEADER_WORDS = 32;

/** The counters of a ring of `capacity` slots. */
export class RingCounters {
  /** Shared words that they need. */
  static readonly WORDS = HEADER_WORDS;
  readonly #words: Int32Array;
  readonly #mask: number;

  /**
   * @param words all zero at first, over a SharedArrayBuffer; the first WORDS of them are used
   * @throws {RangeError} unless the capacity is a power of two
   */
  constructor(words: Int32Array, capacity: number) {
    if (capacity < 1 || !isPowerOfTwo(capacity)) {
      throw new RangeError(`a ring of ${capacity}: the capacity must be a power of two`);
    }
    this.#words = words;
    this.#mask = capacity - 1;
  }

  get capacity(): number {
    return this.#mask + 1;
  }

  /** Slots that are filled and not yet freed. */
  get length(): number {
    return (Atomics.load(this.#words, TAIL) - Atomics.load(this.#words, HEAD)) >>> 0;
  }

  get isFull(): boolean {
    return this.length > this.#mask;
  }

  /** Producer: the slot to fill next, if the ring is not full. */
  get free(): number {
    return Atomics.load(this.#words, TAIL) & this.#mask;
  }

  /** Producer: `count` slots from `free` on are filled. */
  publish(count = 1): void {
    Atomics.store(this.#words, TAIL, (Atomics.load(this.#words, TAIL) + count) | 0);
  }

  /**
   * Producer, after `publish`: true if the consumer asked to be woken, once for each
   * request. The caller then wakes the consumer.
   */
  takeArmed(): boolean {
    return (
      Atomics.load(this.#words, CONSUMER_ARMED) !== 0 &&
      Atomics.exchange(this.#words, CONSUMER_ARMED, 0) !== 0
    );
  }

  /** Producer, after `publish`: wakes a consumer in `waitForMore`. */
  notifyConsumer(): void {
    Atomics.notify(this.#words, TAIL);
  }

  /** Producer: sleeps until there is room, for at most `timeoutMs`. True if there is room now. */
  waitForRoom(timeoutMs: number): boolean {
    const head = Atomics.load(this.#words, HEAD);
    if ((Atomics.load(this.#words, TAIL) - head) >>> 0 <= this.#mask) return true;
    Atomics.store(this.#words, PRODUCER_WAITS, 1);
    Atomics.wait(this.#words, HEAD, head, timeoutMs);
    Atomics.store(this.#words, PRODUCER_WAITS, 0);
    return !this.isFull;
  }

  /**
   * Producer: asks to be woken by the next `release`. False, without a request, if
   * `count` slots are free already.
   */
  armForRoom(count: number): boolean {
    Atomics.store(this.#words, PRODUCER_ARMED, 1);
    if (this.capacity - this.length < count) return true;
    Atomics.store(this.#words, PRODUCER_ARMED, 0);
    return false;
  }

  /** Consumer, after `release`: true if the producer asked to be woken, once for each request. */
  takeRoomArmed(): boolean {
    return (
      Atomics.load(this.#words, PRODUCER_ARMED) !== 0 &&
      Atomics.exchange(this.#words, PRODUCER_ARMED, 0) !== 0
    );
  }

  /** Consumer: the slot that was filled first, if the ring is not empty. */
  get oldest(): number {
    return Atomics.load(this.#words, HEAD) & this.#mask;
  }

  /** Consumer: the `count` oldest slots may be filled again. */
  release(count: number): void {
    Atomics.store(this.#words, HEAD, (Atomics.load(this.#words, HEAD) + count) | 0);
    if (Atomics.load(this.#words, PRODUCER_WAITS) !== 0) Atomics.notify(this.#words, HEAD, 1);
  }

  /**
   * Consumer, before it sleeps: asks to be woken by the next `publish`. False, without
   * a request, if a slot is filled already.
   */
  arm(): boolean {
    Atomics.store(this.#words, CONSUMER_ARMED, 1);
    if (this.length === 0) return true;
    Atomics.store(this.#words, CONSUMER_ARMED, 0);
    return false;
  }

  /** Consumer: sleeps while the ring is empty, for at most `timeoutMs`, if the producer uses `notifyConsumer`. */
  waitForMore(timeoutMs: number): void {
    const tail = Atomics.load(this.#words, TAIL);
    if (tail === Atomics.load(this.#words, HEAD)) Atomics.wait(this.#words, TAIL, tail, timeoutMs);
  }
}

/** A queue of bytes. */
export class ByteRing {
  readonly #counters: RingCounters;
  readonly #bytes: Uint8Array;

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
    this.#counters = new RingCounters(words, capacity);
    this.#bytes = new Uint8Array(words.buffer, words.byteOffset + HEADER_WORDS * 4, capacity);
  }

  get capacity(): number {
    return this.#counters.capacity;
  }

  /** Bytes put and not yet taken. */
  get length(): number {
    return this.#counters.length;
  }

  /** Producer: adds one byte. False, and nothing happens, if the ring is full. */
  put(byte: number): boolean {
    const counters = this.#counters;
    if (counters.isFull) return false;
    this.#bytes[counters.free] = byte;
    counters.publish();
    return true;
  }

  /** Producer, after `put`: see RingCounters. */
  takeArmed(): boolean {
    return this.#counters.takeArmed();
  }

  /** Producer: sleeps until there is room, for at most `timeoutMs`. True if there is room now. */
  waitForRoom(timeoutMs: number): boolean {
    return this.#counters.waitForRoom(timeoutMs);
  }

  /** Consumer: moves as many bytes as there are and fit, oldest first; @returns how many. */
  take(into: Uint8Array): number {
    const counters = this.#counters;
    const count = Math.min(into.length, counters.length);
    if (count === 0) return 0;
    const start = counters.oldest;
    const untilEnd = Math.min(count, this.#bytes.length - start);
    into.set(this.#bytes.subarray(start, start + untilEnd));
    into.set(this.#bytes.subarray(0, count - untilEnd), untilEnd);
    counters.release(count);
    return count;
  }

  /** Consumer, before it sleeps: see RingCounters. */
  arm(): boolean {
    return this.#counters.arm();
  }
}
