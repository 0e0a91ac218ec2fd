/**
 * A ring of frames in shared memory, from one thread to another. Each frame has its
 * virtio-net header.
 *
 * A record begins at a multiple of 16 bytes and does not wrap: its length, the
 * header, the frame. A length of all ones says that the next record is at the start
 * of the ring.
 */
import { RingCounters } from "../base/ring.ts";
import { MAX_FRAME_BYTES } from "./offloads.ts";

const UNIT = 16;
const LENGTH_BYTES = 4;
const NEXT_AT_START = 0xffff_ffff;
/** So that a record of any length fits, wherever the ring's end is. */
const LEAST_CAPACITY = 2 * (MAX_FRAME_BYTES + 2 * UNIT);
const COUNTER_BYTES = 4 * RingCounters.WORDS;

export class FrameRing {
  readonly bytes: Uint8Array;
  /** After `reserve` or `next`: where header and frame begin in `bytes`, and the bytes of both together. */
  start = 0;
  length = 0;
  readonly #counters: RingCounters;
  readonly #words: Uint32Array;
  /** Units of the record that `reserve` or `next` found, and of the gap before it. */
  #units = 0;

  /** The bytes of shared memory for `capacity` bytes of records, a power of two. */
  static bytes(capacity: number): number {
    return COUNTER_BYTES + capacity;
  }

  /** @param shared all zero at first: `FrameRing.bytes(capacity)` of them */
  constructor(shared: SharedArrayBuffer) {
    const capacity = shared.byteLength - COUNTER_BYTES;
    if (capacity < LEAST_CAPACITY)
      throw new RangeError(`a ring of ${capacity} bytes has no room for a frame`);
    this.#counters = new RingCounters(new Int32Array(shared, 0, RingCounters.WORDS), capacity / UNIT);
    this.bytes = new Uint8Array(shared, COUNTER_BYTES, capacity);
    this.#words = new Uint32Array(shared, COUNTER_BYTES, capacity / 4);
  }

  /** Producer: finds a place for header and frame of `length` bytes together. False if there is none now. */
  reserve(length: number): boolean {
    const counters = this.#counters;
    const units = unitsOf(length);
    const free = counters.free;
    const gap = free + units > counters.capacity ? counters.capacity - free : 0;
    if (gap + units > counters.capacity - counters.length) return false;
    if (gap > 0) this.#words[(free * UNIT) / 4] = NEXT_AT_START;
    const at = gap > 0 ? 0 : free;
    this.#words[(at * UNIT) / 4] = length;
    this.start = at * UNIT + LENGTH_BYTES;
    this.length = length;
    this.#units = gap + units;
    return true;
  }

  /** Producer: the place that `reserve` found is filled. True if the consumer is to be woken. */
  publish(): boolean {
    this.#counters.publish(this.#units);
    return this.#counters.takeArmed();
  }

  /** Producer, after `reserve` failed: asks to be woken. False if there may be room already. */
  armForRoom(length: number): boolean {
    // A gap at the end may have to be skipped too.
    return this.#counters.armForRoom(Math.min(2 * unitsOf(length), this.#counters.capacity));
  }

  /** Consumer: finds the oldest frame. False if there is none. */
  next(): boolean {
    const counters = this.#counters;
    if (counters.length === 0) return false;
    const oldest = counters.oldest;
    let at = oldest;
    let gap = 0;
    if (this.#words[(at * UNIT) / 4] === NEXT_AT_START) {
      gap = counters.capacity - oldest;
      at = 0;
    }
    this.start = at * UNIT + LENGTH_BYTES;
    this.length = this.#words[(at * UNIT) / 4];
    this.#units = gap + unitsOf(this.length);
    return true;
  }

  /** Consumer: the frame that `next` found is no longer needed. True if the producer is to be woken. */
  release(): boolean {
    this.#counters.release(this.#units);
    return this.#counters.takeRoomArmed();
  }

  /** Consumer, before it sleeps: asks to be woken. False, without a request, if there is a frame. */
  arm(): boolean {
    return this.#counters.arm();
  }
}

function unitsOf(length: number): number {
  return Math.ceil((LENGTH_BYTES + length) / UNIT);
}

/** Both directions between a card and a network on the program's thread, as it is sent to the io thread. */
export interface FrameRings {
  readonly toNetwork: SharedArrayBuffer;
  readonly toGuest: SharedArrayBuffer;
  /** One word: the OFFLOAD_ bits that the guest's driver accepts. */
  readonly accepts: SharedArrayBuffer;
  /** Tokens of the events that wake the io thread: a frame for the guest, room for a frame of the guest. */
  readonly arrival: number;
  readonly vacancy: number;
}

/** Bytes of records in each direction. */
const RING_CAPACITY = 1 << 20;

export function emptyRing(): SharedArrayBuffer {
  return new SharedArrayBuffer(FrameRing.bytes(RING_CAPACITY));
}
