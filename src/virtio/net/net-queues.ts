/**
 * The io thread's side of virtio-net: moves frames between the queues and the back
 * end.
 *
 * A frame of the guest goes to the back end from the guest's own pages; without its
 * header, which is read once. If there is no room the request stays in the queue.
 *
 * A frame for the guest is read into a buffer of the card, as its length is not known
 * before. Buffers are popped when there is a frame, and only if all that it needs are
 * there; otherwise the frame waits in the card's buffer.
 *
 * Source: VIRTIO 1.2, 5.1.6 (Device Operation).
 */
import { EAGAIN } from "../../base/errno.ts";
import { AGAIN, NEVER } from "../../bus/io-task.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { NetBackend } from "../../net/backend.ts";
import { ReceiveErrors } from "../../net/card.ts";
import {
  RECEIVED_BYTES,
  RECEIVED_DROPPED,
  RECEIVED_FRAMES,
  SENT_BYTES,
  SENT_DROPPED,
  SENT_FRAMES,
} from "../../net/card-counters.ts";
import { MAX_FRAME_BYTES, NET_HEADER_BYTES } from "../../net/offloads.ts";
import type { DeviceQueue, ReportDevice } from "../device.ts";
import { BrokenQueue, Chain } from "../queue/chain.ts";
import { NetControl } from "./net-control.ts";
import { NET_F_MRG_RXBUF, NET_QUEUE_SIZE, type NetRegisters } from "./net-registers.ts";
import { passesFilter } from "./receive-filter.ts";

/** When to send again, if the back end cannot say when it has room. */
const RETRY_MS = 1;
/** Frames that are dropped in one turn. */
const MAX_DROPS = 64;

// 5.1.6: struct virtio_net_hdr.
const NUM_BUFFERS = 10;
const FLAGS_RSC_INFO = 4;
const ETHERNET_BYTES = 14;

/** What the io thread has and vCPU threads do not. */
export interface NetIo {
  /** For reports. */
  readonly name: string;
  readonly backend: NetBackend;
  readonly memory: GuestMemory;
  readonly report: ReportDevice;
  /** NET_FIELDS. */
  readonly counters: Float64Array;
}

/** One queue pair's frame for the guest, from the back end. */
class Waiting {
  readonly bytes = new Uint8Array(NET_HEADER_BYTES + MAX_FRAME_BYTES);
  /** Of header and frame; 0: there is none. */
  length = 0;
}

export class NetQueues {
  readonly #regs: NetRegisters;
  readonly #io: NetIo;
  readonly #control: NetControl;
  readonly #errors: ReceiveErrors;
  readonly #waiting: (Waiting | undefined)[];
  readonly #chain: Chain;
  readonly #header = new Uint8Array(NET_HEADER_BYTES);
  /** What a driver with a shorter header sends of it. */
  readonly #shortHeader = this.#header.subarray(0, NUM_BUFFERS);
  /** Heads and bytes of the buffers that one frame takes. */
  readonly #heads = new Uint32Array(NET_QUEUE_SIZE);
  readonly #written = new Uint32Array(NET_QUEUE_SIZE);
  /** RAM offsets of the two bytes of num_buffers. */
  readonly #countAt = new Float64Array(2);

  constructor(regs: NetRegisters, io: NetIo, pairs: number) {
    this.#regs = regs;
    this.#io = io;
    this.#errors = new ReceiveErrors(io);
    this.#waiting = new Array(pairs).fill(undefined);
    this.#chain = new Chain(io.memory, NET_QUEUE_SIZE);
    this.#control = new NetControl(regs, io.memory, pairs, {
      offloads: (offloads) => io.backend.accept(offloads),
      pairs: (count) => io.backend.usePairs?.(count),
    });
  }

  /** The driver is ready, with the features and offloads in the registers. */
  activate(): void {
    const { backend } = this.#io;
    for (const waiting of this.#waiting) if (waiting !== undefined) waiting.length = 0;
    backend.accept(this.#regs.offloads);
    backend.usePairs?.(this.#regs.pairs);
  }

  control(queue: DeviceQueue): number {
    return this.#control.run(queue);
  }

  /** Serves transmit queue `pair`. */
  send(queue: DeviceQueue, pair: number): number {
    const { backend, counters } = this.#io;
    const chain = this.#chain;
    const isShort = this.#regs.headerBytes < NET_HEADER_BYTES;
    while (queue.pop(chain)) {
      chain.takeReadable(isShort ? this.#shortHeader : this.#header, "the header of a frame");
      const length = chain.readableBytes;
      // Not a flag of the guest's (5.1.6.2.1).
      this.#header[0] &= ~FLAGS_RSC_INFO;
      const good = length >= ETHERNET_BYTES && length <= MAX_FRAME_BYTES && this.#regs.linkDown === 0;
      const result = good ? backend.send(pair, this.#header, chain.readable) : -1;
      if (result === EAGAIN) {
        queue.unpop(1);
        return backend.vacancies === undefined ? RETRY_MS : NEVER;
      }
      if (result < 0) {
        counters[SENT_DROPPED]++;
      } else {
        counters[SENT_FRAMES]++;
        counters[SENT_BYTES] += length;
      }
      queue.push(chain.head, 0);
    }
    return NEVER;
  }

  /** Serves receive queue `pair`. */
  receive(queue: DeviceQueue, pair: number): number {
    const { backend, counters } = this.#io;
    const waiting = this.#waiting[pair] ?? new Waiting();
    this.#waiting[pair] = waiting;
    for (let drops = 0; drops < MAX_DROPS; ) {
      if (waiting.length === 0) {
        const length = backend.receive(pair, waiting.bytes);
        if (length === EAGAIN) return NEVER;
        if (length < 0) return this.#errors.failed(length);
        const isFrame = length >= NET_HEADER_BYTES + ETHERNET_BYTES;
        if (!isFrame || this.#regs.linkDown !== 0 || !passesFilter(this.#regs, waiting.bytes)) {
          if (isFrame && this.#regs.linkDown !== 0) counters[RECEIVED_DROPPED]++;
          drops++;
          continue;
        }
        waiting.length = length;
        this.#shorten(waiting);
      }
      const result = this.#deliver(queue, waiting);
      if (result === WAITS) return NEVER;
      if (result === DELIVERED) {
        counters[RECEIVED_FRAMES]++;
        counters[RECEIVED_BYTES] += waiting.length - this.#regs.headerBytes;
      } else {
        counters[RECEIVED_DROPPED]++;
        drops++;
      }
      waiting.length = 0;
    }
    return AGAIN;
  }

  /** Puts a frame into as many buffers as it needs. */
  #deliver(queue: DeviceQueue, { bytes, length }: Waiting): number {
    const chain = this.#chain;
    const merges = (this.#regs.features & NET_F_MRG_RXBUF) !== 0;
    let buffers = 0;
    let done = 0;
    if (!queue.pop(chain)) return WAITS;
    for (;;) {
      if (chain.readableBytes > 0 || chain.writableBytes === 0) {
        throw new BrokenQueue("a buffer for a frame is not one to write");
      }
      const part = this.#fill(bytes, done, length);
      this.#heads[buffers] = chain.head;
      this.#written[buffers] = part;
      buffers++;
      done += part;
      if (done === length) break;
      if (!merges || buffers === NET_QUEUE_SIZE) {
        // 5.1.6.3.1: the driver's buffers are too small for what it accepts.
        queue.unpop(buffers);
        return DROPPED;
      }
      if (!queue.popMore(chain)) {
        queue.unpop(buffers);
        return WAITS;
      }
    }
    if (this.#regs.headerBytes === NET_HEADER_BYTES) {
      // 5.1.6.4.1: without MRG_RXBUF it is 1.
      const { memory } = this.#io;
      memory.setUint8(this.#countAt[0], buffers & 0xff);
      memory.setUint8(this.#countAt[1], buffers >>> 8);
    }
    // Together: a driver that found only some of them would drop the frame.
    queue.pushTogether(this.#heads, this.#written, buffers);
    return DELIVERED;
  }

  /** Copies [done, length) to the chain, as much as fits; returns how much. */
  #fill(bytes: Uint8Array, done: number, length: number): number {
    const { iov, firstWritable, end } = this.#chain;
    const { memory } = this.#io;
    let at = done;
    for (let index = firstWritable; index < end && at < length; index++) {
      const offset = iov[2 * index];
      const part = Math.min(iov[2 * index + 1], length - at);
      memory.window(offset, part).set(bytes.subarray(at, at + part));
      for (let n = 0; n < 2; n++) {
        const place = NUM_BUFFERS + n;
        if (place >= at && place < at + part) this.#countAt[n] = offset + place - at;
      }
      at += part;
    }
    return at - done;
  }

  /** Removes num_buffers, for a driver whose header has no such field. */
  #shorten(waiting: Waiting): void {
    const gap = NET_HEADER_BYTES - this.#regs.headerBytes;
    if (gap === 0) return;
    waiting.bytes.copyWithin(NUM_BUFFERS, NET_HEADER_BYTES, waiting.length);
    waiting.length -= gap;
  }
}

const DELIVERED = 0;
const WAITS = 1;
const DROPPED = 2;
