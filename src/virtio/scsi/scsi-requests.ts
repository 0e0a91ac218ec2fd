/**
 * The io thread's side of virtio-scsi: commands, from the chain that a driver offered
 * to the response that it waits for.
 *
 * Data moves between the image and the guest's own pages, as for virtio-blk. Any number
 * of commands are in flight at a time. What completing one needs is kept under its
 * tag, which is made of its queue and its head.
 *
 * A driver's mistake gets sense data and is counted. For an error of the host the
 * drive's policy decides: see HostErrors.
 *
 * Source: VIRTIO 1.2, 5.6.6.1 (Device Operation: Request Queues).
 */
import { EINPROGRESS, ENOSPC, EOPNOTSUPP } from "../../base/errno.ts";
import { NEVER } from "../../bus/io-task.ts";
import {
  DISK_BYTES_READ,
  DISK_BYTES_WRITTEN,
  DISK_ERRORS,
  DISK_FLUSHES,
  DISK_REQUESTS,
} from "../../disk/disk-counters.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { INVALID_OPERATION, NO_SPACE, UNRECOVERED_READ, WRITE_ERROR } from "../../scsi/commands.ts";
import * as unit from "../../scsi/unit.ts";
import type { DeviceQueue } from "../device.ts";
import { BrokenQueue, Chain } from "../queue/chain.ts";
import type { DeferredHeads } from "../queue/deferred-heads.ts";
import { ScsiResponses, type ScsiSizes, STATUS_CHECK_CONDITION, STATUS_GOOD } from "./scsi-responses.ts";
import { NO_TARGET, type ScsiUnits, type ServedUnit } from "./scsi-units.ts";

/** Of a request, before and behind its command. */
const HEADER_BYTES = 19;
const ID = 8;
const CDB_BYTES = 16;
// What became of a request: 5.6.6.1.
const S_OK = 0;
const S_OVERRUN = 1;
export const S_ABORTED = 2;
const S_BAD_TARGET = 3;
export const S_RESET = 4;

// In place of a number of bytes written:
/** The request is in flight; `poll` finishes it. */
const PENDING = -1;
/** The request cannot be served now; `run` serves it again. */
const DEFER = -2;

const DOING: Readonly<Record<number, string>> = {
  [unit.READ]: "reading",
  [unit.WRITE]: "writing",
  [unit.FLUSH]: "flushing",
  [unit.FREE]: "discarding",
  [unit.ZERO]: "zeroing",
};

export class ScsiRequests {
  readonly #units: ScsiUnits;
  readonly #now: () => number;
  readonly #sizes: ScsiSizes;
  /** By request queue. */
  readonly #deferred: readonly DeferredHeads[];
  readonly #queueSize: number;
  readonly #chain: Chain;
  readonly #header = new Uint8Array(HEADER_BYTES + 256);
  readonly #headers = new Map<number, Uint8Array>();
  readonly #cdb = new Uint8Array(CDB_BYTES);
  readonly #responses: ScsiResponses;
  // By tag: whether it is in use; its unit; what it does, and where; parts that the back end has not finished;
  // -errno of a part that failed, or 0; its id.
  readonly #busy: Uint8Array;
  readonly #unit: Int16Array;
  readonly #operation: Uint8Array;
  readonly #offset: Float64Array;
  readonly #bytes: Float64Array;
  readonly #left: Uint8Array;
  readonly #failure: Int32Array;
  readonly #id: Uint32Array;
  /** By unit: requests in flight. */
  readonly #pending: Uint32Array;
  /** By unit: when its throttle lets the next request through; 0 if it does so now. */
  readonly #throttledUntil: Float64Array;

  constructor(
    units: ScsiUnits,
    memory: GuestMemory,
    sizes: ScsiSizes,
    deferred: readonly DeferredHeads[],
    queueSize: number,
    now: () => number,
  ) {
    const tags = deferred.length * queueSize;
    this.#units = units;
    this.#now = now;
    this.#sizes = sizes;
    this.#deferred = deferred;
    this.#queueSize = queueSize;
    this.#chain = new Chain(memory, queueSize);
    this.#responses = new ScsiResponses(memory, sizes, tags);
    this.#busy = new Uint8Array(tags);
    this.#unit = new Int16Array(tags);
    this.#operation = new Uint8Array(tags);
    this.#offset = new Float64Array(tags);
    this.#bytes = new Float64Array(tags);
    this.#left = new Uint8Array(tags);
    this.#failure = new Int32Array(tags);
    this.#id = new Uint32Array(2 * tags);
    this.#pending = new Uint32Array(units.units.length);
    this.#throttledUntil = new Float64Array(units.units.length);
  }

  resume(): void {
    for (const { errors } of this.#units.units) errors.stopped = false;
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
      this.#finishOrDefer(queue, index, head, written);
    }
    while (queue.pop(chain)) this.#finishOrDefer(queue, index, chain.head, this.#serve(index, chain, false));
    return this.#wait();
  }

  /** Submits what `run` began, and finishes the requests that are completed. */
  poll(queues: readonly DeviceQueue[]): void {
    for (const served of this.#units.units) this.#pollUnit(served, queues);
  }

  drain(queues: readonly DeviceQueue[]): void {
    for (let n = 0; n < this.#units.units.length; n++) this.drainUnit(n, queues);
  }

  /** Waits until none of a unit's requests is in flight. @param queues all of the device's */
  drainUnit(index: number, queues: readonly DeviceQueue[]): void {
    const served = this.#units.units[index];
    while (this.#pending[index] > 0 && served.backend.drain()) this.#pollUnit(served, queues);
  }

  /** Whether a request with that id is in flight, or deferred. */
  has(index: number, idLow: number, idHigh: number): boolean {
    for (let tag = 0; tag < this.#busy.length; tag++) {
      if (this.#busy[tag] !== 0 && this.#isTask(tag, index, idLow, idHigh)) return true;
    }
    return false;
  }

  hasAny(index: number): boolean {
    for (let tag = 0; tag < this.#busy.length; tag++) {
      if (this.#busy[tag] !== 0 && this.#unit[tag] === index) return true;
    }
    return false;
  }

  /**
   * Ends the deferred requests of a unit.
   *
   * @param queues all of the device's, the request queues from `first` on
   * @param id of the only one; undefined for all
   */
  abort(
    index: number,
    queues: readonly DeviceQueue[],
    first: number,
    response: number,
    id: { readonly low: number; readonly high: number } | undefined,
  ): void {
    this.#throttledUntil[index] = 0;
    for (let queue = 0; queue < this.#deferred.length; queue++) {
      const deferred = this.#deferred[queue];
      for (let left = deferred.length; left > 0; left--) {
        const head = deferred.first;
        deferred.shift();
        const tag = queue * this.#queueSize + head;
        const isMeant =
          this.#busy[tag] !== 0 &&
          (id === undefined ? this.#unit[tag] === index : this.#isTask(tag, index, id.low, id.high));
        if (!isMeant) {
          deferred.push(head);
          continue;
        }
        this.#busy[tag] = 0;
        queues[first + queue].push(head, this.#respond(tag, response, STATUS_GOOD, 0, 0));
      }
    }
  }

  #isTask(tag: number, index: number, idLow: number, idHigh: number): boolean {
    return this.#unit[tag] === index && this.#id[2 * tag] === idLow && this.#id[2 * tag + 1] === idHigh;
  }

  /** False if the unit of a deferred request surely cannot serve it now. */
  #isServed(queue: number, head: number): boolean {
    const tag = queue * this.#queueSize + head;
    if (this.#busy[tag] === 0) return true; // of a machine that continues from a snapshot
    const index = this.#unit[tag];
    return !this.#units.units[index].errors.stopped && this.#throttledUntil[index] <= this.#now();
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
      if (until === 0 || this.#units.units[index].errors.stopped) continue;
      const left = Math.max(1, until - now);
      if (wait === NEVER || left < wait) wait = left;
    }
    return wait;
  }

  #finishOrDefer(queue: DeviceQueue, index: number, head: number, written: number): void {
    if (written >= 0) queue.push(head, written);
    else if (written === DEFER) this.#deferred[index].push(head);
  }

  /** Returns how many bytes it wrote, or PENDING, or DEFER. */
  #serve(queue: number, chain: Chain, isDeferred: boolean): number {
    const tag = queue * this.#queueSize + chain.head;
    const header = this.#headerOf(HEADER_BYTES + this.#sizes.cdbSize);
    chain.takeReadable(header, "a request header");
    if (this.#busy[tag] !== 0 && !isDeferred) {
      throw new BrokenQueue(`the chain at ${chain.head} is offered again while it is in flight`);
    }
    this.#busy[tag] = 0;
    this.#responses.take(chain, tag);
    const index = this.#units.find(header, 0);
    this.#unit[tag] = index;
    if (index === NO_TARGET) return this.#respond(tag, S_BAD_TARGET, STATUS_GOOD, 0, 0);
    const cdb = this.#cdbOf(header);
    const luns = this.#units.lunsOf(header[1]);
    if (index < 0)
      return this.#answer(tag, this.#units.noUnit, this.#units.noUnit.execute(cdb, chain, luns), chain);
    const served = this.#units.units[index];
    this.#id[2 * tag] = header[ID] | (header[ID + 1] << 8) | (header[ID + 2] << 16) | (header[ID + 3] << 24);
    this.#id[2 * tag + 1] =
      header[ID + 4] | (header[ID + 5] << 8) | (header[ID + 6] << 16) | (header[ID + 7] << 24);
    if (served.errors.stopped || !this.#mayPass(served, index, chain)) {
      this.#busy[tag] = 1;
      return DEFER;
    }
    const outcome = served.unit.execute(cdb, chain, luns);
    const written = this.#carryOut(tag, served, outcome, chain);
    if (written === PENDING || written === DEFER) {
      this.#busy[tag] = 1;
      if (written === PENDING) this.#pending[index]++;
      return written;
    }
    served.counters[DISK_REQUESTS]++;
    return written;
  }

  /** Asks the throttle about a request with data. */
  #mayPass({ throttle }: ServedUnit, index: number, chain: Chain): boolean {
    const bytes = chain.readableBytes + chain.writableBytes;
    if (throttle === undefined || bytes === 0) return true;
    const isWrite = chain.readableBytes > 0;
    const now = this.#now();
    const delay = throttle.delay(isWrite, now);
    this.#throttledUntil[index] = delay > 0 ? now + delay : 0;
    if (delay > 0) return false;
    throttle.count(isWrite, bytes);
    return true;
  }

  /** Answers what needs no storage, and begins what does. */
  #carryOut(tag: number, served: ServedUnit, outcome: number, chain: Chain): number {
    const { unit: logical, backend, counters } = served;
    switch (outcome) {
      case unit.READ: {
        const { bytes, offset } = logical;
        if (bytes > chain.writableBytes) return this.#respond(tag, S_OVERRUN, STATUS_GOOD, 0, 0);
        chain.keepWritable(bytes);
        this.#note(tag, outcome, offset, bytes, bytes);
        return this.#begun(tag, served, backend.readv(chain.writable, offset, tag));
      }
      case unit.WRITE: {
        const { bytes, offset, isDurable } = logical;
        if (bytes > chain.readableBytes) return this.#respond(tag, S_OVERRUN, STATUS_GOOD, 0, 0);
        chain.keepReadable(bytes);
        this.#note(tag, outcome, offset, bytes, bytes);
        return this.#begun(tag, served, backend.writev(chain.readable, offset, isDurable, tag));
      }
      case unit.FLUSH:
        counters[DISK_FLUSHES]++;
        this.#responses.residual[tag] = chain.readableBytes + chain.writableBytes;
        this.#note(tag, outcome, 0, 0, 0);
        return this.#begun(tag, served, backend.flush(tag));
      case unit.FREE: {
        const { ranges, rangeCount } = logical;
        this.#note(tag, outcome, ranges[0], ranges[1], this.#responses.residual[tag]);
        for (let i = 0; i < rangeCount; i++) {
          this.#asked(tag, backend.discard(ranges[2 * i], ranges[2 * i + 1], tag));
        }
        return this.#left[tag] > 0 ? PENDING : this.#finished(tag, served);
      }
      case unit.ZERO: {
        const { offset, bytes, mayUnmap } = logical;
        this.#note(tag, outcome, offset, bytes, this.#responses.residual[tag]);
        return this.#begun(tag, served, backend.writeZeroes(offset, bytes, mayUnmap, tag));
      }
      default:
        return this.#answer(tag, logical, outcome, chain);
    }
  }

  /** The end of a command that needed no storage. */
  #answer(tag: number, logical: unit.LogicalUnit, outcome: number, chain: Chain): number {
    if (outcome === unit.CHECK) return this.#refuse(tag, logical.sense);
    if (outcome !== unit.ANSWER) {
      this.#responses.residual[tag] = chain.readableBytes + chain.writableBytes;
      return this.#respond(tag, S_OK, STATUS_GOOD, 0, 0);
    }
    const { length, buffer } = logical;
    if (length > chain.writableBytes) return this.#respond(tag, S_OVERRUN, STATUS_GOOD, 0, 0);
    const data = chain.write(buffer.subarray(0, length));
    this.#responses.residual[tag] -= data;
    return this.#respond(tag, S_OK, STATUS_GOOD, 0, data);
  }

  /** @param used bytes that the initiator offered and the command moves */
  #note(tag: number, operation: number, offset: number, bytes: number, used: number): void {
    this.#operation[tag] = operation;
    this.#offset[tag] = offset;
    this.#bytes[tag] = bytes;
    this.#left[tag] = 0;
    this.#failure[tag] = 0;
    this.#responses.residual[tag] -= used;
  }

  #begun(tag: number, served: ServedUnit, result: number): number {
    this.#asked(tag, result);
    return this.#left[tag] > 0 ? PENDING : this.#finished(tag, served);
  }

  #asked(tag: number, result: number): void {
    if (result === EINPROGRESS) this.#left[tag]++;
    else if (result < 0) this.#failure[tag] = result;
  }

  #pollUnit(served: ServedUnit, queues: readonly DeviceQueue[]): void {
    const { backend } = served;
    backend.submit();
    for (let tag = backend.take(); tag >= 0; tag = backend.take()) {
      this.#finishPart(tag, served, backend.result, queues);
      backend.submit(); // a flush that follows
    }
  }

  #finishPart(tag: number, served: ServedUnit, result: number, queues: readonly DeviceQueue[]): void {
    this.#left[tag]--;
    if (result < 0) this.#failure[tag] = result;
    if (this.#left[tag] > 0) return;
    const written = this.#finished(tag, served);
    if (written === PENDING) return;
    this.#pending[this.#unit[tag]]--;
    const head = tag % this.#queueSize;
    const queue = (tag - head) / this.#queueSize;
    if (written === DEFER) {
      this.#deferred[queue].push(head);
      return;
    }
    this.#busy[tag] = 0;
    served.counters[DISK_REQUESTS]++;
    queues[queues.length - this.#deferred.length + queue].push(head, written);
  }

  /** All parts have completed: bytes written; or PENDING if something has to follow first, or DEFER. */
  #finished(tag: number, served: ServedUnit): number {
    const { counters, backend, unit: logical } = served;
    const operation = this.#operation[tag];
    const failure = this.#failure[tag];
    if (failure < 0) return this.#failed(tag, served, failure);
    const bytes = this.#bytes[tag];
    if (operation === unit.READ) counters[DISK_BYTES_READ] += bytes;
    if (operation === unit.WRITE) counters[DISK_BYTES_WRITTEN] += bytes;
    if ((operation === unit.FREE || operation === unit.ZERO) && logical.regs.writeCache === 0) {
      this.#operation[tag] = unit.FLUSH;
      return this.#begun(tag, served, backend.flush(tag));
    }
    return this.#respond(tag, S_OK, STATUS_GOOD, 0, operation === unit.READ ? bytes : 0);
  }

  #failed(tag: number, served: ServedUnit, failure: number): number {
    const operation = this.#operation[tag];
    const bytes = this.#bytes[tag];
    const isErase = operation === unit.FREE || operation === unit.ZERO;
    if (failure === EOPNOTSUPP && isErase) return this.#refuse(tag, INVALID_OPERATION);
    const outcome = served.errors.decide(DOING[operation], failure, this.#offset[tag], bytes);
    if (outcome === "stop") return DEFER;
    if (outcome === "ignore")
      return this.#respond(tag, S_OK, STATUS_GOOD, 0, operation === unit.READ ? bytes : 0);
    if (operation === unit.READ || operation === unit.WRITE) this.#responses.residual[tag] += bytes;
    if (operation === unit.READ) return this.#refuse(tag, UNRECOVERED_READ);
    return this.#refuse(tag, failure === ENOSPC ? NO_SPACE : WRITE_ERROR);
  }

  #refuse(tag: number, sense: number): number {
    return this.#respond(tag, S_OK, STATUS_CHECK_CONDITION, sense, 0);
  }

  #respond(tag: number, response: number, status: number, sense: number, data: number): number {
    const index = this.#unit[tag];
    if (index >= 0 && (status !== STATUS_GOOD || response !== S_OK)) {
      this.#units.units[index].counters[DISK_ERRORS]++;
    }
    return this.#responses.write(tag, response, status, sense, data);
  }

  /** A view of the header's first bytes, one for each size: a driver sets it once. */
  #headerOf(bytes: number): Uint8Array {
    let header = this.#headers.get(bytes);
    if (header === undefined) {
      header = this.#header.subarray(0, bytes);
      this.#headers.set(bytes, header);
    }
    return header;
  }

  /** The command; what the driver's format has no room for is zero. */
  #cdbOf(header: Uint8Array): Uint8Array {
    this.#cdb.fill(0);
    for (let i = 0; i < this.#cdb.length && HEADER_BYTES + i < header.length; i++) {
      this.#cdb[i] = header[HEADER_BYTES + i];
    }
    return this.#cdb;
  }
}
