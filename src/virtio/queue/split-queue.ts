/**
 * The device's side of a split virtqueue.
 *
 * The driver offers chains of descriptors in the available ring; the device
 * answers in the used ring. Both sides run at once, so the two index words are
 * moved with Atomics: only this file does that on guest memory. Each field of
 * the guest is read once, checked, and then the checked copy is used.
 *
 * A used buffer is visible to the driver at once. Whether to interrupt the driver
 * is decided once for several; a driver that is polling needs no interrupt.
 *
 * Source: VIRTIO 1.2, 2.7, with 2.7.5.3 (indirect descriptors) and 2.7.7,
 * 2.7.10 (notification suppression by flags or by event index).
 *
 * Differs: a chain through an indirect table may be as long as the largest
 * queue that the device offers, not only as long as the queue that the driver
 * chose, because Linux sizes requests by the device and may shrink the queue later.
 */
import { layout } from "../../base/layout.ts";
import type { DirtySink } from "../../memory/dirty-sink.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import {
  AVAIL_ALIGNMENT,
  AVAIL_F_NO_INTERRUPT,
  DESC_ALIGNMENT,
  DESC_BYTES,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  F_EVENT_IDX_LOW,
  F_INDIRECT_DESC_LOW,
  USED_ALIGNMENT,
  USED_F_NO_NOTIFY,
} from "../spec.ts";
import { BrokenQueue, type Chain } from "./chain.ts";

/** Where the driver put a queue. Written by vCPU threads, under the device's lock. */
export const QueueConfigState = layout("virtqueue-config", 1, {
  ready: "u32",
  size: "u32", // descriptors
  descLow: "u32",
  descHigh: "u32",
  driverLow: "u32", // the available ring
  driverHigh: "u32",
  deviceLow: "u32", // the used ring
  deviceHigh: "u32",
});
export type QueueConfig = ReturnType<typeof QueueConfigState.view>;

/** How far the device has come in a queue. Written by the io thread only. */
export const QueueCursorState = layout("virtqueue-cursor", 1, {
  nextAvail: "u32", // modulo 2^16, like the rings' own indices
  nextUsed: "u32",
  signalledUsed: "u32", // nextUsed when the driver was last considered for an interrupt
});
export type QueueCursor = ReturnType<typeof QueueCursorState.view>;

/** Where a queue lies: RAM offsets of its three parts. */
export interface RingPlace {
  /** Descriptors. */
  readonly size: number;
  readonly table: number;
  readonly avail: number;
  readonly used: number;
}

// Places in the rings, in units of the view that reaches them.
const FLAGS_U16 = 0;
const IDX_U16 = 1;
const AVAIL_RING_U16 = 2;
const USED_RING_U32 = 1;
const MAX_QUEUE_SIZE = 32768;

export class SplitQueue {
  readonly size: number;
  readonly place: RingPlace;
  readonly #memory: GuestMemory;
  readonly #cursor: QueueCursor;
  readonly #indirect: boolean;
  readonly #eventIndex: boolean;
  /** RAM offset of the descriptor table. */
  readonly #table: number;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedElements: Uint32Array;
  /** RAM offset of the used ring. */
  readonly #usedOffset: number;
  readonly #dirty: DirtySink | undefined;
  /** Requests that were popped, and then returned to the ring by `unpop`. */
  #returned = 0;

  /**
   * Opens the queue where the driver put it, and continues where the cursor stands.
   *
   * @param config read once
   * @param maxSize what the device offered as the queue's size
   * @throws {BrokenQueue} if a part of it is misaligned or not in RAM.
   */
  constructor(
    memory: GuestMemory,
    config: Readonly<QueueConfig>,
    cursor: QueueCursor,
    maxSize: number,
    featuresLow: number,
    dirty?: DirtySink,
  ) {
    const size = config.size;
    if (size === 0 || size > Math.min(maxSize, MAX_QUEUE_SIZE) || (size & (size - 1)) !== 0) {
      throw new BrokenQueue(`a queue of ${size} descriptors; a power of two up to ${maxSize} can be served`);
    }
    const desc = config.descHigh * 2 ** 32 + config.descLow;
    const driver = config.driverHigh * 2 ** 32 + config.driverLow;
    const device = config.deviceHigh * 2 ** 32 + config.deviceLow;
    const availBytes = 6 + 2 * size;
    const usedBytes = 6 + 8 * size;
    this.size = size;
    this.#memory = memory;
    this.#cursor = cursor;
    this.#dirty = dirty;
    this.#indirect = (featuresLow & F_INDIRECT_DESC_LOW) !== 0;
    this.#eventIndex = (featuresLow & F_EVENT_IDX_LOW) !== 0;
    this.#table = place(memory, "descriptor table", desc, DESC_BYTES * size, DESC_ALIGNMENT);
    const availOffset = place(memory, "available ring", driver, availBytes, AVAIL_ALIGNMENT);
    const avail = memory.window(availOffset, availBytes);
    this.#usedOffset = place(memory, "used ring", device, usedBytes, USED_ALIGNMENT);
    const used = memory.window(this.#usedOffset, usedBytes);
    this.place = { size, table: this.#table, avail: availOffset, used: this.#usedOffset };
    this.#avail = new Uint16Array(avail.buffer, avail.byteOffset, availBytes / 2);
    this.#used = new Uint16Array(used.buffer, used.byteOffset, usedBytes / 2);
    this.#usedElements = new Uint32Array(used.buffer, used.byteOffset, USED_RING_U32 + 2 * size);
  }

  /** Fills `chain` with the next request. False if the driver has offered none. @throws {BrokenQueue} */
  pop(chain: Chain): boolean {
    const cursor = this.#cursor;
    const next = cursor.nextAvail;
    const offered = this.#offered(next);
    if (offered === 0) return false;
    if (((next - cursor.nextUsed) & 0xffff) >= this.size) {
      throw new BrokenQueue(`more than ${this.size} requests are in flight`);
    }
    const head = this.#avail[AVAIL_RING_U16 + (next & (this.size - 1))];
    if (head >= this.size) throw new BrokenQueue(`descriptor ${head} is outside a queue of ${this.size}`);
    chain.start(head);
    this.#walk(chain, head);
    cursor.nextAvail = (next + 1) & 0xffff;
    this.#returned = 0;
    return true;
  }

  /** The last `count` requests that were popped come once more; none of them was pushed. Until then they are not new. */
  unpop(count: number): void {
    this.#cursor.nextAvail = (this.#cursor.nextAvail - count) & 0xffff;
    this.#returned = count;
  }

  /** Fills `chain` once more with a request that was popped and not pushed. @throws {BrokenQueue} */
  reload(chain: Chain, head: number): void {
    chain.start(head);
    this.#walk(chain, head);
  }

  /** Returns a chain to the driver: the device has written `written` bytes at the front of its writable part. */
  push(head: number, written: number): void {
    this.#setUsed(this.#cursor.nextUsed, head, written);
    this.#showUsed(1);
  }

  /** Returns `count` chains, which the driver finds together or not at all. */
  pushTogether(heads: Uint32Array, written: Uint32Array, count: number): void {
    const next = this.#cursor.nextUsed;
    for (let n = 0; n < count; n++) this.#setUsed(next + n, heads[n], written[n]);
    this.#showUsed(count);
  }

  #setUsed(index: number, head: number, written: number): void {
    const element = USED_RING_U32 + 2 * (index & (this.size - 1));
    this.#usedElements[element] = head;
    this.#usedElements[element + 1] = written;
  }

  #showUsed(count: number): void {
    this.#cursor.nextUsed = (this.#cursor.nextUsed + count) & 0xffff;
    // Release: the elements and the data are visible before the index that shows them.
    Atomics.store(this.#used, IDX_U16, this.#cursor.nextUsed);
    this.#markUsedRing();
  }

  /** True if the driver is to be interrupted for what was pushed since the last call. */
  wantsInterrupt(): boolean {
    const cursor = this.#cursor;
    const before = cursor.signalledUsed;
    const now = cursor.nextUsed;
    if (before === now) return false;
    cursor.signalledUsed = now;
    // The store in `push` is a full barrier: either the driver sees the new index, or we see its latest suppression.
    if (!this.#eventIndex) return (Atomics.load(this.#avail, FLAGS_U16) & AVAIL_F_NO_INTERRUPT) === 0;
    const usedEvent = Atomics.load(this.#avail, AVAIL_RING_U16 + this.size);
    return crossed(usedEvent, before, now);
  }

  /** Asks the driver not to notify while the device is polling anyway. */
  disableNotifications(): void {
    // With the event index nothing is to be done: the driver notifies only when it passes avail_event.
    if (this.#eventIndex) return;
    Atomics.store(this.#used, FLAGS_U16, USED_F_NO_NOTIFY);
    this.#markUsedRing();
  }

  /** The index of the first request that was never popped. */
  get #nextNew(): number {
    return (this.#cursor.nextAvail + this.#returned) & 0xffff;
  }

  /** Whether the driver has offered something that was never popped; of any index, right or wrong. */
  get hasMore(): boolean {
    return Atomics.load(this.#avail, IDX_U16) !== this.#nextNew;
  }

  /** Asks the driver to notify of the next request. True if it has offered something meanwhile: pop again. */
  enableNotifications(): boolean {
    const next = this.#nextNew;
    if (this.#eventIndex) {
      Atomics.store(this.#used, 2 * USED_RING_U32 + 4 * this.size, next); // avail_event
    } else {
      Atomics.store(this.#used, FLAGS_U16, 0);
    }
    this.#markUsedRing();
    return this.hasMore;
  }

  /** After a store, so that a reader who finds the mark finds what was stored. */
  #markUsedRing(): void {
    if (this.#dirty?.on === true) this.#dirty.mark(this.#usedOffset, this.#used.byteLength);
  }

  /** How many requests are offered and not popped. @throws {BrokenQueue} if there are more than the ring can hold. */
  #offered(next: number): number {
    // Acquire: what the driver wrote before it moved idx is visible after this.
    const idx = Atomics.load(this.#avail, IDX_U16);
    const offered = (idx - next) & 0xffff;
    if (offered > this.size) {
      throw new BrokenQueue(`the available index moved from ${next} to ${idx} in a queue of ${this.size}`);
    }
    return offered;
  }

  #walk(chain: Chain, head: number): void {
    const memory = this.#memory;
    let table = this.#table;
    let entries = this.size;
    let inTable = false; // an indirect one
    let index = head;
    for (let visited = 0; ; visited++) {
      if (visited === entries) throw new BrokenQueue(`the chain at ${head} loops`);
      if (index >= entries) throw new BrokenQueue(`descriptor ${index} is outside a table of ${entries}`);
      const desc = table + DESC_BYTES * index;
      const address = memory.getUint64(desc);
      const length = memory.getUint32(desc + 8);
      const flagsAndNext = memory.getUint32(desc + 12);
      const flags = flagsAndNext & 0xffff;
      if ((flags & DESC_F_INDIRECT) !== 0) {
        if (!this.#indirect) throw new BrokenQueue("an indirect descriptor, which was not negotiated");
        if (inTable) throw new BrokenQueue("an indirect descriptor inside an indirect table");
        if ((flags & DESC_F_NEXT) !== 0) throw new BrokenQueue("an indirect descriptor with a next one");
        entries = length / DESC_BYTES;
        if (length === 0 || length % DESC_BYTES !== 0 || entries > chain.capacity) {
          throw new BrokenQueue(
            `an indirect table of ${length} bytes; 1 to ${chain.capacity} descriptors can be served`,
          );
        }
        table = memory.translate(address, length);
        if (table < 0) throw new BrokenQueue(`an indirect table at 0x${address.toString(16)}, not all RAM`);
        inTable = true;
        index = 0;
        visited = -1;
        continue;
      }
      chain.add(address, length, (flags & DESC_F_WRITE) !== 0);
      if ((flags & DESC_F_NEXT) === 0) return;
      index = flagsAndNext >>> 16;
    }
  }
}

/** 2.7.7.1: whether moving from index `before` to `now` went past `event`; all modulo 2^16. */
export function crossed(event: number, before: number, now: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
}

function place(
  memory: GuestMemory,
  what: string,
  address: number,
  length: number,
  alignment: number,
): number {
  const offset = memory.translate(address, length);
  if (offset < 0) {
    throw new BrokenQueue(`the ${what} of ${length} bytes at 0x${address.toString(16)} is not all RAM`);
  }
  if (address % alignment !== 0 || offset % alignment !== 0) {
    throw new BrokenQueue(`the ${what} at 0x${address.toString(16)} is not aligned to ${alignment} bytes`);
  }
  return offset;
}
