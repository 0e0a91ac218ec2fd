/**
 * The io thread's side of virtio-blk: requests, from the chain that a driver
 * offered to the status byte that it waits for.
 *
 * The chain of a request is passed to the back end as it is, so that data moves
 * between the image and the guest's own pages. Any number of requests are in
 * flight at a time, and complete in any order. What completing one needs is kept
 * under its tag, which is made of its queue and its head.
 *
 * A driver's mistake (beyond the end, not whole sectors, a write to a read-only
 * disk) gets S_IOERR and is counted. For an error of the host the drive's policy
 * decides: see HostErrors.
 *
 * Source: VIRTIO 1.2, 5.2.6 (Device Operation).
 */
import { EINPROGRESS, EOPNOTSUPP } from "../../base/errno.ts";
import { SECTOR } from "../../base/units.ts";
import { NEVER } from "../../bus/io-task.ts";
import type { BlockBackend } from "../../disk/backend.ts";
import {
  DISK_BYTES_READ,
  DISK_BYTES_WRITTEN,
  DISK_ERRORS,
  DISK_FLUSHES,
  DISK_REQUESTS,
} from "../../disk/disk-counters.ts";
import { type ErrorPolicy, HostErrors } from "../../disk/host-errors.ts";
import type { Throttle } from "../../disk/throttle.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { DeviceQueue, ReportDevice } from "../device.ts";
import { BrokenQueue, Chain } from "../queue/chain.ts";
import type { DeferredHeads } from "../queue/deferred-heads.ts";

// 5.2.6, Device Operation.
const BLK_T_IN = 0;
const BLK_T_OUT = 1;
const BLK_T_FLUSH = 4;
const BLK_T_GET_ID = 8;
const BLK_T_DISCARD = 11;
const BLK_T_WRITE_ZEROES = 13;

const BLK_S_OK = 0;
const BLK_S_IOERR = 1;
const BLK_S_UNSUPP = 2;

const HEADER_BYTES = 16;
const SEGMENT_BYTES = 16; // struct virtio_blk_discard_write_zeroes
const SEGMENT_F_UNMAP = 1;

export const DISCARD_SEG_MAX = 32;
export const DISCARD_SECTORS_MAX = 2 ** 31 / SECTOR;
/** Where the host has to write the zeros, other requests wait for that: 16 MiB at a time. */
export const WRITE_ZEROES_SECTORS_MAX = 2 ** 24 / SECTOR;
/** Bytes of one read or write. More than seg_max and size_max allow together; firmware ignores those. */
const REQUEST_MAX = 2 ** 30;

/** What the io thread has and vCPU threads do not. */
export interface BlkIo {
  readonly name: string;
  readonly backend: BlockBackend;
  readonly memory: GuestMemory;
  readonly report: ReportDevice;
  /** See disk/disk-counters.ts. */
  readonly counters: Float64Array;
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
  readonly throttle: Throttle | undefined;
  /** A clock in ms, for the throttle. */
  readonly now: () => number;
}

/** What a request asks of the host. */
const READ = 0;
const WRITE = 1;
const FLUSH = 2;
const DISCARD = 3;
const ZERO = 4;
const DOING = ["reading", "writing", "flushing", "discarding", "zeroing"] as const;
/** In `#status`, where no request is in flight. */
const NOBODY = -1;

// In place of a status, or of the number of bytes written:
/** The request is in flight; `poll` finishes it. */
const PENDING = -1;
/** The request cannot be served now; `run` serves it again. */
const DEFER = -2;

/** What the side of the vCPU threads knows, and this one needs. */
export interface BlkFacts {
  /** Bytes, now. */
  readonly size: number;
  readonly readOnly: boolean;
  /** False: written data has to be on stable storage when the request completes. */
  readonly writeback: boolean;
  /** The answer to GET_ID: 20 bytes. */
  readonly id: Uint8Array;
}

export class BlkRequests {
  readonly #facts: BlkFacts;
  readonly #io: BlkIo;
  readonly #errors: HostErrors;
  readonly #queueSize: number;
  readonly #chain: Chain;
  /** By queue. */
  readonly #deferred: readonly DeferredHeads[];
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  // By tag: RAM offset of the status byte; operation; place on the disk, in bytes; bytes; parts that the
  // back end has not finished; -errno of a part that failed, or 0.
  readonly #status: Float64Array;
  readonly #operation: Uint8Array;
  readonly #offset: Float64Array;
  readonly #length: Float64Array;
  readonly #left: Uint8Array;
  readonly #failure: Int32Array;
  /** Of the request that is served now: offset, length, and 1 if its storage may be freed. */
  readonly #segments = new Float64Array(3 * DISCARD_SEG_MAX);
  #pending = 0;
  /** When the throttle lets the next request through; 0 if it does so now. */
  #throttledUntil = 0;

  /** @param deferred one for each queue, of `queueSize` descriptors */
  constructor(facts: BlkFacts, io: BlkIo, deferred: readonly DeferredHeads[], queueSize: number) {
    const tags = deferred.length * queueSize;
    this.#chain = new Chain(io.memory, queueSize);
    this.#deferred = deferred;
    this.#facts = facts;
    this.#io = io;
    this.#errors = new HostErrors(io);
    this.#queueSize = queueSize;
    this.#status = new Float64Array(tags).fill(NOBODY);
    this.#operation = new Uint8Array(tags);
    this.#offset = new Float64Array(tags);
    this.#length = new Float64Array(tags);
    this.#left = new Uint8Array(tags);
    this.#failure = new Int32Array(tags);
  }

  resume(): void {
    this.#errors.stopped = false;
  }

  /** Serves deferred requests first. */
  run(queue: DeviceQueue, index: number): number {
    const chain = this.#chain;
    const deferred = this.#deferred[index];
    for (;;) {
      if (this.#errors.stopped) return NEVER;
      if (this.#throttledUntil > 0) {
        const waitMs = this.#throttledUntil - this.#io.now();
        if (waitMs > 0) return waitMs;
      }
      const isDeferred = deferred.length > 0;
      if (isDeferred ? !queue.again(chain, deferred.first) : !queue.pop(chain)) return NEVER;
      const { head } = chain;
      const written = this.#serve(index, chain);
      if (isDeferred && written !== DEFER) deferred.shift();
      if (written >= 0) queue.push(head, written);
      else if (written === DEFER && !isDeferred) deferred.push(head);
    }
  }

  /** Submits what `run` began, and finishes the requests that are completed. */
  poll(queues: readonly DeviceQueue[]): void {
    const { backend } = this.#io;
    backend.submit();
    for (let tag = backend.take(); tag >= 0; tag = backend.take()) {
      this.#finishPart(tag, backend.result, queues);
      backend.submit(); // a flush that follows
    }
  }

  drain(queues: readonly DeviceQueue[]): void {
    while (this.#pending > 0 && this.#io.backend.drain()) this.poll(queues);
  }

  forget(queue: number): void {
    this.#deferred[queue].clear();
  }

  /** Returns how many bytes it wrote, or PENDING, or DEFER. */
  #serve(queue: number, chain: Chain): number {
    const { memory, counters } = this.#io;
    chain.takeReadable(this.#headerBytes, "a request header");
    const status = chain.takeLastWritable("a status byte");
    const type = this.#header.getUint32(0, true);
    const sector = this.#header.getUint32(8, true) + this.#header.getUint32(12, true) * 2 ** 32;
    let answer: number;
    let written = 0;
    switch (type) {
      case BLK_T_IN:
      case BLK_T_OUT:
      case BLK_T_FLUSH:
      case BLK_T_DISCARD:
      case BLK_T_WRITE_ZEROES: {
        const tag = queue * this.#queueSize + chain.head;
        if (this.#status[tag] !== NOBODY) {
          throw new BrokenQueue(`the chain at ${chain.head} is offered again while it is in flight`);
        }
        answer = this.#begin(tag, type, sector * SECTOR, chain);
        if (answer === DEFER) return DEFER;
        if (answer === PENDING) {
          this.#status[tag] = status;
          this.#pending++;
          return PENDING;
        }
        if (answer === BLK_S_OK && type === BLK_T_IN) written = this.#length[tag];
        break;
      }
      case BLK_T_GET_ID:
        written = chain.write(this.#facts.id);
        answer = BLK_S_OK;
        break;
      default:
        answer = BLK_S_UNSUPP;
    }
    counters[DISK_REQUESTS]++;
    if (answer !== BLK_S_OK) counters[DISK_ERRORS]++;
    memory.setUint8(status, answer);
    return written + 1;
  }

  /** Begins a request. Its status, or PENDING, or DEFER. */
  #begin(tag: number, type: number, offset: number, chain: Chain): number {
    const { backend, throttle } = this.#io;
    const isWrite = type !== BLK_T_IN;
    if (throttle !== undefined && type !== BLK_T_FLUSH) {
      const now = this.#io.now();
      const delay = throttle.delay(isWrite, now);
      if (delay > 0) {
        this.#throttledUntil = now + delay;
        return DEFER;
      }
      this.#throttledUntil = 0;
      throttle.count(isWrite, isWrite ? chain.readableBytes : chain.writableBytes);
    }
    switch (type) {
      case BLK_T_IN: {
        const length = chain.writableBytes;
        if (!this.#isTransfer(offset, length)) return BLK_S_IOERR;
        this.#note(tag, READ, offset, length);
        if (length === 0) return BLK_S_OK;
        return this.#begun(tag, backend.readv(chain.writable, offset, tag));
      }
      case BLK_T_OUT: {
        const length = chain.readableBytes;
        if (this.#facts.readOnly || !this.#isTransfer(offset, length)) return BLK_S_IOERR;
        this.#note(tag, WRITE, offset, length);
        if (length === 0) return BLK_S_OK;
        const dsync = !this.#facts.writeback;
        return this.#begun(tag, backend.writev(chain.readable, offset, dsync, tag));
      }
      case BLK_T_FLUSH:
        this.#io.counters[DISK_FLUSHES]++;
        this.#note(tag, FLUSH, 0, 0);
        return this.#begun(tag, backend.flush(tag));
      default:
        return this.#eraseSegments(tag, type, chain);
    }
  }

  #note(tag: number, operation: number, offset: number, length: number): void {
    this.#operation[tag] = operation;
    this.#offset[tag] = offset;
    this.#length[tag] = length;
    this.#left[tag] = 0;
    this.#failure[tag] = 0;
  }

  /** All parts of the request are submitted to the back end. */
  #begun(tag: number, result: number): number {
    this.#asked(tag, result);
    return this.#left[tag] > 0 ? PENDING : this.#answer(tag);
  }

  #asked(tag: number, result: number): void {
    if (result === EINPROGRESS) this.#left[tag]++;
    else if (result < 0) this.#failure[tag] = result;
  }

  #finishPart(tag: number, result: number, queues: readonly DeviceQueue[]): void {
    this.#left[tag]--;
    if (result < 0) this.#failure[tag] = result;
    if (this.#left[tag] > 0) return;
    const answer = this.#answer(tag);
    if (answer === PENDING) return;
    const status = this.#status[tag];
    this.#status[tag] = NOBODY;
    this.#pending--;
    const head = tag % this.#queueSize;
    const queue = (tag - head) / this.#queueSize;
    if (answer === DEFER) {
      this.#deferred[queue].push(head);
      return;
    }
    const { memory, counters } = this.#io;
    counters[DISK_REQUESTS]++;
    if (answer !== BLK_S_OK) counters[DISK_ERRORS]++;
    memory.setUint8(status, answer);
    const data = answer === BLK_S_OK && this.#operation[tag] === READ ? this.#length[tag] : 0;
    queues[queue].push(head, 1 + data);
  }

  /** The status of a request whose parts have all completed; PENDING if something has to follow first. */
  #answer(tag: number): number {
    const { backend, counters } = this.#io;
    const operation = this.#operation[tag];
    const failure = this.#failure[tag];
    if (failure < 0) return this.#failed(tag, failure);
    if (operation === READ) counters[DISK_BYTES_READ] += this.#length[tag];
    if (operation === WRITE) counters[DISK_BYTES_WRITTEN] += this.#length[tag];
    if ((operation === DISCARD || operation === ZERO) && !this.#facts.writeback) {
      this.#operation[tag] = FLUSH;
      return this.#begun(tag, backend.flush(tag));
    }
    return BLK_S_OK;
  }

  /** Begins all segments of a discard or write-zeroes, unless one of them is invalid. */
  #eraseSegments(tag: number, type: number, chain: Chain): number {
    const isDiscard = type === BLK_T_DISCARD;
    const count = chain.readableBytes / SEGMENT_BYTES;
    const most = isDiscard ? DISCARD_SEG_MAX : 1;
    if (this.#facts.readOnly || !Number.isInteger(count) || count > most) return BLK_S_IOERR;
    for (let i = 0; i < count; i++) {
      const mistake = this.#takeSegment(chain, isDiscard, i);
      if (mistake !== BLK_S_OK) return mistake;
    }
    this.#note(tag, isDiscard ? DISCARD : ZERO, this.#segments[0], this.#segments[1]);
    const { backend } = this.#io;
    for (let i = 0; i < count; i++) {
      const offset = this.#segments[3 * i];
      const length = this.#segments[3 * i + 1];
      if (length === 0) continue;
      const result = isDiscard
        ? backend.discard(offset, length, tag)
        : backend.writeZeroes(offset, length, this.#segments[3 * i + 2] === 1, tag);
      this.#asked(tag, result);
    }
    return this.#left[tag] > 0 ? PENDING : this.#answer(tag);
  }

  /** Reads segment `index` into `#segments`. Returns BLK_S_OK, or the status of the request. */
  #takeSegment(chain: Chain, isDiscard: boolean, index: number): number {
    // The header is no longer needed: its 16 bytes now hold a segment of 16 bytes.
    chain.takeReadable(this.#headerBytes, "a segment");
    const sector = this.#header.getUint32(0, true) + this.#header.getUint32(4, true) * 2 ** 32;
    const sectors = this.#header.getUint32(8, true);
    const flags = this.#header.getUint32(12, true);
    if ((flags & ~(isDiscard ? 0 : SEGMENT_F_UNMAP)) !== 0) return BLK_S_UNSUPP;
    if (sectors > (isDiscard ? DISCARD_SECTORS_MAX : WRITE_ZEROES_SECTORS_MAX)) return BLK_S_IOERR;
    if ((sector + sectors) * SECTOR > this.#facts.size) return BLK_S_IOERR;
    this.#segments[3 * index] = sector * SECTOR;
    this.#segments[3 * index + 1] = sectors * SECTOR;
    this.#segments[3 * index + 2] = flags & SEGMENT_F_UNMAP;
    return BLK_S_OK;
  }

  #isTransfer(offset: number, length: number): boolean {
    return length % SECTOR === 0 && length <= REQUEST_MAX && offset + length <= this.#facts.size;
  }

  /** The result of a request that the host failed: a status, or DEFER. */
  #failed(tag: number, failure: number): number {
    const operation = this.#operation[tag];
    if (failure === EOPNOTSUPP && (operation === DISCARD || operation === ZERO)) return BLK_S_UNSUPP;
    const doing = DOING[operation];
    const outcome = this.#errors.decide(doing, failure, this.#offset[tag], this.#length[tag]);
    if (outcome === "stop") return DEFER;
    return outcome === "ignore" ? BLK_S_OK : BLK_S_IOERR;
  }
}
