/**
 * The io thread's side of a drive: carries out the one request that its registers
 * hold, and lets the drive complete its command.
 *
 * With DMA, data moves between the image and the guest's own pages, in as many parts
 * as the descriptors need. Without, it passes through memory that no guest sees, and
 * is copied to or from the drive's buffer, from which the driver takes it word by word.
 *
 * The registers are read and changed under the controller's lock; the host's work
 * happens without it. A drive that was reset meanwhile has another serial number.
 */
import { EINPROGRESS } from "../base/errno.ts";
import type { Lock } from "../base/lock.ts";
import { Pieces } from "../base/pieces.ts";
import { SECTOR } from "../base/units.ts";
import { AGAIN, NEVER } from "../bus/io-task.ts";
import type { BlockBackend } from "../disk/backend.ts";
import {
  DISK_BYTES_READ,
  DISK_BYTES_WRITTEN,
  DISK_ERRORS,
  DISK_FLUSHES,
  DISK_REQUESTS,
} from "../disk/disk-counters.ts";
import { type HostErrorParts, HostErrors } from "../disk/host-errors.ts";
import type { Throttle } from "../disk/throttle.ts";
import type { DirtySink } from "../memory/dirty-sink.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { Channel } from "./channel.ts";
import { DONE, type Drive, FAILED, type Outcome, TOO_SHORT } from "./drive.ts";
import {
  REQUEST_COPY_DMA,
  REQUEST_FLUSH,
  REQUEST_NONE,
  REQUEST_READ,
  REQUEST_READ_DMA,
  REQUEST_WRITE,
  REQUEST_WRITE_DMA,
} from "./drive-state.ts";
import { NOT_RAM, PrdTable } from "./prd-table.ts";

/** The back end has one request of a drive at a time. */
const TAG = 0;
export const DRIVE_TAGS = 1;
/** Requests that complete at once are followed by others; then other tasks have their turn. */
const MOST_IN_A_TURN = 16;

/** In place of a number of bytes: the bus master failed. */
const MASTER_FAILED = Number.NEGATIVE_INFINITY;

export interface DriveIo extends HostErrorParts {
  readonly drive: Drive;
  readonly channel: Channel;
  /** The controller's. */
  readonly lock: Lock;
  readonly backend: BlockBackend;
  readonly memory: GuestMemory;
  readonly dirty: DirtySink;
  /** RAM offset of BUFFER_BYTES that no guest sees. */
  readonly bounce: number;
  /** See disk/disk-counters.ts. */
  readonly counters: Float64Array;
  readonly throttle: Throttle | undefined;
  /** A clock in ms, for the throttle. */
  readonly now: () => number;
  /** The PCI function may be a bus master. Called under the lock. */
  readonly mayMaster: () => boolean;
}

export class DriveRequests {
  readonly io: DriveIo;
  readonly #errors: HostErrors;
  readonly #table: PrdTable;
  readonly #bounce: Pieces;
  #isInFlight = false;
  // The request that is carried out: its registers, copied; how far it is; bytes of the part in flight.
  #request = REQUEST_NONE;
  #serial = 0;
  #offset = 0;
  #bytes = 0;
  #isDurable = false;
  #descriptors = 0;
  #done = 0;
  #part = 0;

  constructor(io: DriveIo) {
    this.io = io;
    this.#errors = new HostErrors(io);
    this.#table = new PrdTable(io.memory);
    this.#bounce = Pieces.of(io.bounce, 0);
  }

  /** Carries out what the drive asks for. As IoTask.turn. */
  turn(): number {
    this.#poll();
    for (let n = 0; n < MOST_IN_A_TURN; n++) {
      if (this.#isInFlight) return NEVER;
      const wait = this.#take();
      if (wait !== AGAIN) return wait;
      this.#carryOn();
    }
    return this.#isInFlight ? NEVER : AGAIN;
  }

  /** Waits until nothing is in flight. */
  drain(): void {
    while (this.#isInFlight && this.io.backend.drain()) this.#poll();
  }

  resume(): void {
    this.#errors.stopped = false;
  }

  /** Copies the request from the registers. AGAIN if there is one to carry out now; else as IoTask.turn. */
  #take(): number {
    const { drive, channel, lock, backend, throttle, counters } = this.io;
    const { regs } = drive;
    if (this.#errors.stopped) return NEVER;
    lock.acquire();
    try {
      const { request } = regs;
      if (request === REQUEST_NONE || (isDma(request) && !channel.isStarted)) return NEVER;
      // What a medium that was changed since, or a snapshot, has no place for.
      if (isTransfer(request) && regs.requestOffset + regs.requestBytes > backend.size) {
        counters[DISK_ERRORS]++;
        drive.complete(FAILED);
        return NEVER;
      }
      if (throttle !== undefined && isTransfer(request)) {
        const now = this.io.now();
        const delay = throttle.delay(isWrite(request), now);
        if (delay > 0) return delay;
        throttle.count(isWrite(request), regs.requestBytes);
      }
      this.#request = request;
      this.#serial = regs.serial;
      this.#offset = regs.requestOffset;
      this.#bytes = regs.requestBytes;
      this.#isDurable = regs.requestDsync !== 0;
      this.#descriptors = channel.regs.table;
      this.#done = 0;
      regs.busy = 1;
    } finally {
      lock.release();
    }
    if (this.#request === REQUEST_FLUSH) counters[DISK_FLUSHES]++;
    return AGAIN;
  }

  #poll(): void {
    const { backend } = this.io;
    if (!this.#isInFlight) return;
    backend.submit();
    if (backend.take() !== TAG) return;
    this.#isInFlight = false;
    if (this.#finishPart(backend.result)) this.#carryOn();
  }

  /** Begins parts of the request until one is in flight or the request is completed. */
  #carryOn(): void {
    const { backend } = this.io;
    for (;;) {
      let result = this.#begin();
      if (result === EINPROGRESS) {
        backend.submit();
        if (backend.take() !== TAG) {
          this.#isInFlight = true;
          return;
        }
        result = backend.result;
      }
      if (!this.#finishPart(result)) return;
    }
  }

  /** Begins the next part: bytes, EINPROGRESS, -errno of the host, or MASTER_FAILED. 0 bytes: there is no memory for it. */
  #begin(): number {
    const { backend, memory, drive, bounce } = this.io;
    this.#part = this.#bytes;
    switch (this.#request) {
      case REQUEST_FLUSH:
        return backend.flush(TAG);
      case REQUEST_READ:
        this.#bounce.pairs[1] = this.#bytes;
        return backend.readv(this.#bounce, this.#offset, TAG);
      case REQUEST_WRITE:
        memory.window(bounce, this.#bytes).set(drive.regs.buffer.subarray(0, this.#bytes));
        this.#bounce.pairs[1] = this.#bytes;
        return backend.writev(this.#bounce, this.#offset, this.#isDurable, TAG);
      case REQUEST_COPY_DMA:
        return this.#copy();
      default:
        return this.#move();
    }
  }

  #move(): number {
    const { backend } = this.io;
    const { pieces } = this.#table;
    const found = this.#gather(this.#done, SECTOR);
    if (found <= 0) return found;
    const offset = this.#offset + this.#done;
    return this.#request === REQUEST_READ_DMA
      ? backend.readv(pieces, offset, TAG)
      : backend.writev(pieces, offset, this.#isDurable, TAG);
  }

  /** Copies from the buffer to the guest's memory. */
  #copy(): number {
    const { memory, drive } = this.io;
    const { dmaDone, buffer } = drive.regs;
    const found = this.#gather(dmaDone + this.#done, 1);
    if (found <= 0) return found;
    const { pairs, count } = this.#table.pieces;
    let from = this.#done;
    for (let i = 0; i < count; i++) {
      const length = pairs[2 * i + 1];
      memory.window(pairs[2 * i], length).set(buffer.subarray(from, from + length));
      from += length;
    }
    return found;
  }

  /** Finds the guest's memory for the next part: bytes, or MASTER_FAILED. */
  #gather(skipped: number, unit: number): number {
    const { lock, mayMaster } = this.io;
    lock.acquire();
    const may = mayMaster();
    lock.release();
    if (!may) return MASTER_FAILED;
    this.#part = this.#table.gather(this.#descriptors, skipped, this.#bytes - this.#done, unit);
    return this.#part === NOT_RAM ? MASTER_FAILED : this.#part;
  }

  /** A part has completed. True if another one follows. */
  #finishPart(result: number): boolean {
    const { counters } = this.io;
    const request = this.#request;
    if (result === MASTER_FAILED) {
      this.#complete(FAILED, true);
      return false;
    }
    if (result < 0) return this.#hostFailed(result);
    if (request === REQUEST_READ_DMA || request === REQUEST_COPY_DMA) this.#markDirty();
    if (request === REQUEST_READ || request === REQUEST_READ_DMA) counters[DISK_BYTES_READ] += this.#part;
    if (isWrite(request)) counters[DISK_BYTES_WRITTEN] += this.#part;
    if (isDma(request) && this.#part === 0) {
      this.#complete(TOO_SHORT);
      return false;
    }
    return this.#advance();
  }

  /** The part has completed, or its failure is ignored. True if another one follows. */
  #advance(): boolean {
    this.#done += this.#part;
    if (this.#done < this.#bytes && this.#isWanted) return true;
    this.#complete(DONE);
    return false;
  }

  #hostFailed(failure: number): boolean {
    const request = this.#request;
    const doing = request === REQUEST_FLUSH ? "flushing" : isWrite(request) ? "writing" : "reading";
    switch (this.#errors.decide(doing, failure, this.#offset + this.#done, this.#part)) {
      case "ignore":
        return this.#advance();
      case "report":
        this.#complete(FAILED);
        return false;
      default:
        // The registers still hold the request, which is carried out from its beginning when the machine is resumed.
        this.io.drive.regs.busy = 0;
        return false;
    }
  }

  /** Nobody has reset the drive. */
  get #isWanted(): boolean {
    return this.io.drive.regs.serial === this.#serial;
  }

  #complete(outcome: Outcome, masterFailed = false): void {
    const { drive, channel, lock, memory, counters, bounce } = this.io;
    const { regs } = drive;
    counters[DISK_REQUESTS]++;
    if (outcome === FAILED) counters[DISK_ERRORS]++;
    lock.acquire();
    try {
      regs.busy = 0;
      if (!this.#isWanted) return;
      if (this.#request === REQUEST_READ && outcome === DONE) {
        regs.buffer.set(memory.window(bounce, this.#bytes));
      }
      drive.complete(outcome);
      if (isDma(this.#request) && drive.accepts) {
        channel.masterDone(outcome === DONE && !this.#table.isExhausted, masterFailed);
      }
    } finally {
      lock.release();
    }
  }

  #markDirty(): void {
    const { dirty } = this.io;
    if (!dirty.on) return;
    const { pairs, count } = this.#table.pieces;
    for (let i = 0; i < count; i++) dirty.mark(pairs[2 * i], pairs[2 * i + 1]);
  }
}

function isDma(request: number): boolean {
  return request === REQUEST_READ_DMA || request === REQUEST_WRITE_DMA || request === REQUEST_COPY_DMA;
}

function isWrite(request: number): boolean {
  return request === REQUEST_WRITE || request === REQUEST_WRITE_DMA;
}

function isTransfer(request: number): boolean {
  return request !== REQUEST_FLUSH && request !== REQUEST_COPY_DMA;
}
