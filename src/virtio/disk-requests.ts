/**
 * The requests that a virtio device has for disks, on the io thread: popped,
 * submitted to a back end in parts, completed in any order, or deferred.
 *
 * What virtio-blk and virtio-scsi have in common. How a request is written in its
 * chain, and how it is answered, is the device type's: a RequestFormat. Any number
 * of requests are in flight at a time. What completing one needs is kept under its
 * tag, which is made of its queue and its head.
 *
 * For an error of the host the drive's policy decides: see HostErrors.
 */
import { EINPROGRESS, EOPNOTSUPP } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import { NEVER } from "../bus/io-task.ts";
import type { BlockBackend } from "../disk/backend.ts";
import { DISK_BYTES_READ, DISK_BYTES_WRITTEN, DISK_FLUSHES, DISK_REQUESTS } from "../disk/disk-counters.ts";
import type { HostErrors } from "../disk/host-errors.ts";
import type { Throttle } from "../disk/throttle.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { DeviceQueue } from "./device.ts";
import { BrokenQueue, Chain } from "./queue/chain.ts";
import type { DeferredHeads } from "./queue/deferred-heads.ts";

// What a request asks of the host.
export const READ = 0;
const WRITE = 1;
export const FLUSH = 2;
export const DISCARD = 3;
export const ZERO = 4;
const DOING = ["reading", "writing", "flushing", "discarding", "zeroing"] as const;

// In place of a number of bytes written:
/** The request is in flight; `poll` completes it. */
const PENDING = -1;
/** The request cannot be served now; `run` serves it again. */
export const DEFER = -2;

/** A disk as the io thread serves it. */
export interface ServedDisk {
  readonly backend: BlockBackend;
  readonly errors: HostErrors;
  /** See disk/disk-counters.ts. */
  readonly counters: Float64Array;
  readonly throttle: Throttle | undefined;
  /** False: what was written is on stable storage when the request completes. */
  readonly writeback: boolean;
}

/** What a device type adds. Its methods return how many bytes they wrote into the chain, or PENDING, or DEFER. */
export interface RequestFormat {
  /**
   * Reads the request in `chain`: answers it, or returns what a method of
   * DiskRequests returns for its tag.
   *
   * @throws {BrokenQueue} if it cannot even be answered
   */
  serve(tag: number, chain: Chain): number;
  /** Answers a request whose work for the host has ended. @param failure -errno; 0 if there was none */
  answer(tag: number, failure: number): number;
}

/** The chain may be used until `serve` returns. */
export class DiskRequests {
  readonly #disks: readonly ServedDisk[];
  readonly #format: RequestFormat;
  /** By queue. */
  readonly #deferred: readonly DeferredHeads[];
  readonly #queueSize: number;
  readonly #now: () => number;
  readonly #chain: Chain;
  // By tag: the index of its disk, negative for none; what it does, and where, in bytes.
  readonly disk: Int16Array;
  readonly operation: Uint8Array;
  readonly offset: Float64Array;
  readonly length: Float64Array;
  // By tag: whether it is in use; parts that the back end has not completed; -errno of a part that failed, or 0.
  readonly #busy: Uint8Array;
  readonly #left: Uint8Array;
  readonly #failure: Int32Array;
  /** By disk: requests in flight. */
  readonly #pending: Uint32Array;
  /** By disk: when its throttle lets the next request through; 0 if it does so now. */
  readonly #throttledUntil: Float64Array;

  /**
   * @param deferred one for each queue, of `queueSize` descriptors
   * @param now a clock in ms, for throttles
   */
  constructor(
    disks: readonly ServedDisk[],
    format: RequestFormat,
    memory: GuestMemory,
    deferred: readonly DeferredHeads[],
    queueSize: number,
    now: () => number,
  ) {
    const tags = deferred.length * queueSize;
    this.#disks = disks;
    this.#format = format;
    this.#deferred = deferred;
    this.#queueSize = queueSize;
    this.#now = now;
    this.#chain = new Chain(memory, queueSize);
    this.disk = new Int16Array(tags);
    this.operation = new Uint8Array(tags);
    this.offset = new Float64Array(tags);
    this.length = new Float64Array(tags);
    this.#busy = new Uint8Array(tags);
    this.#left = new Uint8Array(tags);
    this.#failure = new Int32Array(tags);
    this.#pending = new Uint32Array(disks.length);
    this.#throttledUntil = new Float64Array(disks.length);
  }

  // For the device, as VirtioDevice has them; `queues` are all of the device's, of which the last have requests:

  resume(): void {
    for (const { errors } of this.#disks) errors.stopped = false;
  }

  forget(queue: number): void {
    this.#deferred[queue].clear();
    this.#busy.fill(0, queue * this.#queueSize, (queue + 1) * this.#queueSize);
    this.#throttledUntil.fill(0);
  }

  /** Serves deferred requests first: those that still cannot be served keep their order. */
  run(queue: DeviceQueue, index: number): number {
    const chain = this.#chain;
    const deferred = this.#deferred[index];
    for (let left = deferred.length; left > 0; left--) {
      const head = deferred.first;
      if (!this.#isServed(index, head)) {
        deferred.shift();
        deferred.push(head);
        continue;
      }
      if (!queue.again(chain, head)) return this.#wait();
      const written = this.#serve(index, chain, true);
      deferred.shift();
      this.#pushOrDefer(queue, index, head, written);
    }
    while (queue.pop(chain)) this.#pushOrDefer(queue, index, chain.head, this.#serve(index, chain, false));
    return this.#wait();
  }

  /** Submits what `run` began, and pushes the requests that are completed. */
  poll(queues: readonly DeviceQueue[]): void {
    for (let index = 0; index < this.#disks.length; index++) this.#pollDisk(index, queues);
  }

  drain(queues: readonly DeviceQueue[]): void {
    for (let index = 0; index < this.#disks.length; index++) this.drainDisk(index, queues);
  }

  /** Waits until none of a disk's requests is in flight. */
  drainDisk(index: number, queues: readonly DeviceQueue[]): void {
    while (this.#pending[index] > 0 && this.#disks[index].backend.drain()) this.#pollDisk(index, queues);
  }

  // For the format, once for each request: each returns what `serve` is to return.

  /** Asks the disk's throttle, if it has one, about a request of that many bytes. False: DEFER it. */
  mayBegin(tag: number, isWrite: boolean, bytes: number): boolean {
    const index = this.disk[tag];
    const { errors, throttle } = this.#disks[index];
    if (errors.stopped) return false;
    if (throttle === undefined || bytes === 0) return true;
    const now = this.#now();
    if (this.#throttledUntil[index] > now) return false; // behind the ones that were deferred
    const delay = throttle.delay(isWrite, now);
    this.#throttledUntil[index] = delay > 0 ? now + delay : 0;
    if (delay > 0) return false;
    throttle.count(isWrite, bytes);
    return true;
  }

  /** Fills `pieces` of RAM, of `bytes` together. */
  read(tag: number, pieces: Pieces, offset: number, bytes: number): number {
    this.#note(tag, READ, offset, bytes);
    if (bytes > 0) this.#asked(tag, this.#diskOf(tag).backend.readv(pieces, offset, tag));
    return this.#ended(tag);
  }

  write(tag: number, pieces: Pieces, offset: number, bytes: number, isDurable: boolean): number {
    this.#note(tag, WRITE, offset, bytes);
    if (bytes > 0) this.#asked(tag, this.#diskOf(tag).backend.writev(pieces, offset, isDurable, tag));
    return this.#ended(tag);
  }

  flush(tag: number): number {
    const { counters, backend } = this.#diskOf(tag);
    counters[DISK_FLUSHES]++;
    this.#note(tag, FLUSH, 0, 0);
    this.#asked(tag, backend.flush(tag));
    return this.#ended(tag);
  }

  /** @param ranges offset and length of each, in bytes */
  discard(tag: number, ranges: Float64Array, count: number): number {
    const { backend } = this.#diskOf(tag);
    this.#note(tag, DISCARD, ranges[0], ranges[1]);
    for (let i = 0; i < count; i++) {
      const length = ranges[2 * i + 1];
      if (length > 0) this.#asked(tag, backend.discard(ranges[2 * i], length, tag));
    }
    return this.#ended(tag);
  }

  zero(tag: number, offset: number, bytes: number, mayUnmap: boolean): number {
    this.#note(tag, ZERO, offset, bytes);
    if (bytes > 0) this.#asked(tag, this.#diskOf(tag).backend.writeZeroes(offset, bytes, mayUnmap, tag));
    return this.#ended(tag);
  }

  // For task management:

  /** Tags from 0 on. */
  get tags(): number {
    return this.#busy.length;
  }

  /** Whether a request is in flight or deferred. */
  isBusy(tag: number): boolean {
    return this.#busy[tag] !== 0;
  }

  /** Ends the deferred requests of a disk for which `answer` returns a number of bytes written. */
  endDeferred(
    index: number,
    queues: readonly DeviceQueue[],
    answer: (tag: number) => number | undefined,
  ): void {
    this.#throttledUntil[index] = 0;
    for (let queue = 0; queue < this.#deferred.length; queue++) {
      const deferred = this.#deferred[queue];
      for (let left = deferred.length; left > 0; left--) {
        const head = deferred.first;
        deferred.shift();
        const tag = queue * this.#queueSize + head;
        const isMeant = this.#busy[tag] !== 0 && this.disk[tag] === index;
        const written = isMeant ? answer(tag) : undefined;
        if (written === undefined) {
          deferred.push(head);
          continue;
        }
        this.#busy[tag] = 0;
        this.#queueOf(queues, queue).push(head, written);
      }
    }
  }

  #serve(queue: number, chain: Chain, isDeferred: boolean): number {
    const tag = queue * this.#queueSize + chain.head;
    if (this.#busy[tag] !== 0 && !isDeferred) {
      throw new BrokenQueue(`the chain at ${chain.head} is offered again while it is in flight`);
    }
    this.#busy[tag] = 0;
    const written = this.#format.serve(tag, chain);
    const index = this.disk[tag];
    if (written < 0) {
      this.#busy[tag] = 1;
      if (written === PENDING) this.#pending[index]++;
    } else if (index >= 0) {
      this.#disks[index].counters[DISK_REQUESTS]++;
    }
    return written;
  }

  #pushOrDefer(queue: DeviceQueue, index: number, head: number, written: number): void {
    if (written >= 0) queue.push(head, written);
    else if (written === DEFER) this.#deferred[index].push(head);
  }

  /** False if the disk of a deferred request surely cannot serve it now. */
  #isServed(queue: number, head: number): boolean {
    const tag = queue * this.#queueSize + head;
    if (this.#busy[tag] === 0) return true; // of a machine that continues from a snapshot
    const index = this.disk[tag];
    const until = this.#throttledUntil[index];
    return !this.#disks[index].errors.stopped && (until === 0 || until <= this.#now());
  }

  /** How long until a throttle lets a deferred request through. */
  #wait(): number {
    let deferred = 0;
    for (let queue = 0; queue < this.#deferred.length; queue++) deferred += this.#deferred[queue].length;
    if (deferred === 0) return NEVER;
    const now = this.#now();
    let wait = NEVER;
    for (let index = 0; index < this.#throttledUntil.length; index++) {
      const until = this.#throttledUntil[index];
      if (until === 0 || this.#disks[index].errors.stopped) continue;
      const left = Math.max(1, until - now);
      if (wait === NEVER || left < wait) wait = left;
    }
    return wait;
  }

  #diskOf(tag: number): ServedDisk {
    return this.#disks[this.disk[tag]];
  }

  #queueOf(queues: readonly DeviceQueue[], queue: number): DeviceQueue {
    return queues[queues.length - this.#deferred.length + queue];
  }

  #note(tag: number, operation: number, offset: number, length: number): void {
    this.operation[tag] = operation;
    this.offset[tag] = offset;
    this.length[tag] = length;
    this.#left[tag] = 0;
    this.#failure[tag] = 0;
  }

  #asked(tag: number, result: number): void {
    if (result === EINPROGRESS) this.#left[tag]++;
    else if (result < 0) this.#failure[tag] = result;
  }

  /** All parts are submitted to the back end. */
  #ended(tag: number): number {
    return this.#left[tag] > 0 ? PENDING : this.#completed(tag);
  }

  #pollDisk(index: number, queues: readonly DeviceQueue[]): void {
    const { backend } = this.#disks[index];
    backend.submit();
    for (let tag = backend.take(); tag >= 0; tag = backend.take()) {
      this.#endPart(tag, backend.result, queues);
      backend.submit(); // a flush that follows
    }
  }

  #endPart(tag: number, result: number, queues: readonly DeviceQueue[]): void {
    this.#left[tag]--;
    if (result < 0) this.#failure[tag] = result;
    if (this.#left[tag] > 0) return;
    const written = this.#completed(tag);
    if (written === PENDING) return;
    const index = this.disk[tag];
    this.#pending[index]--;
    const head = tag % this.#queueSize;
    const queue = (tag - head) / this.#queueSize;
    if (written === DEFER) {
      this.#deferred[queue].push(head);
      return;
    }
    this.#busy[tag] = 0;
    this.#disks[index].counters[DISK_REQUESTS]++;
    this.#queueOf(queues, queue).push(head, written);
  }

  /** All parts have completed: bytes written; PENDING if a flush has to follow first; or DEFER. */
  #completed(tag: number): number {
    const disk = this.#diskOf(tag);
    const { counters } = disk;
    const operation = this.operation[tag];
    const failure = this.#failure[tag];
    if (failure < 0) return this.#failed(tag, disk, failure);
    if (operation === READ) counters[DISK_BYTES_READ] += this.length[tag];
    if (operation === WRITE) counters[DISK_BYTES_WRITTEN] += this.length[tag];
    if ((operation === DISCARD || operation === ZERO) && !disk.writeback) {
      this.operation[tag] = FLUSH;
      this.#asked(tag, disk.backend.flush(tag));
      return this.#ended(tag);
    }
    return this.#format.answer(tag, 0);
  }

  #failed(tag: number, { errors }: ServedDisk, failure: number): number {
    const operation = this.operation[tag];
    const isErase = operation === DISCARD || operation === ZERO;
    if (failure === EOPNOTSUPP && isErase) return this.#format.answer(tag, failure);
    const outcome = errors.decide(DOING[operation], failure, this.offset[tag], this.length[tag]);
    if (outcome === "stop") return DEFER;
    return this.#format.answer(tag, outcome === "ignore" ? 0 : failure);
  }
}
