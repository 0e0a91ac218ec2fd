/**
 * The transfers of requests between files and guest RAM: submitted now, completed later.
 *
 * For an image, each transfer has completed when its call returns, so no format knows
 * of asynchrony: it splits a request into transfers, between `begin` and `end`, and
 * this class counts those that are still in flight. An image that needs the data in
 * its place before it continues calls `drain`.
 *
 * Some transfers are made synchronously: those that reach past the end of a file,
 * because an image treats their short result as zeros; and those that O_DIRECT cannot
 * transfer, which use the page cache, while nothing else is in flight.
 */

import { EAGAIN, EINPROGRESS, EIO } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { AsyncIo } from "../sys/async-io.ts";
import type { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import type { IoMemory } from "./io-memory.ts";

const NONE = -1;

export class Transfers implements IoMemory {
  /** The result of the request that `take` returned. */
  result = 0;
  readonly #io: AsyncIo;
  readonly #ram: GuestRam;
  readonly #memory: GuestMemory;
  // By tag: transfers in flight; bytes of them that have not moved; -errno of one
  // that failed, or 0; and the image's result, which counts if none failed.
  readonly #left: Int32Array;
  readonly #missing: Float64Array;
  readonly #failure: Int32Array;
  readonly #results: Float64Array;
  /** By tag: `end` has returned EINPROGRESS, and `take` not yet the tag. */
  readonly #open: Uint8Array;
  /** A ring of the tags of completed requests. */
  readonly #completed: Uint32Array;
  #firstCompleted = 0;
  #completedCount = 0;
  #inFlight = 0;
  /** Transfers are queued and not submitted. */
  #unsubmitted = false;
  /** The tag of the request that an image is splitting. */
  #tag = NONE;

  /** @param tags requests have tags below this, and no two in flight have the same */
  constructor(io: AsyncIo, ram: GuestRam, memory: GuestMemory, tags: number) {
    this.#io = io;
    this.#ram = ram;
    this.#memory = memory;
    this.#left = new Int32Array(tags);
    this.#missing = new Float64Array(tags);
    this.#failure = new Int32Array(tags);
    this.#results = new Float64Array(tags);
    this.#open = new Uint8Array(tags);
    this.#completed = new Uint32Array(tags);
  }

  /** From here on, transfers belong to request `tag`. */
  begin(tag: number): void {
    this.#tag = tag;
    this.#left[tag] = 0;
    this.#missing[tag] = 0;
    this.#failure[tag] = 0;
  }

  /** The request is split. Returns its result, or EINPROGRESS if transfers are in flight; then `take` returns the tag. */
  end(result: number): number {
    const tag = this.#tag;
    this.#tag = NONE;
    this.#results[tag] = result;
    if (this.#left[tag] === 0) return this.#resultFor(tag);
    this.#open[tag] = 1;
    return EINPROGRESS;
  }

  /** Whether a request is in flight, or has completed and `take` has not returned it. */
  isOpen(tag: number): boolean {
    return this.#open[tag] !== 0;
  }

  /** Transfers belong to a request once more that is open. False if it has completed. */
  resume(tag: number): boolean {
    if (this.#left[tag] === 0) return false;
    this.#tag = tag;
    return true;
  }

  /** The request that was resumed has all its transfers. @returns `result` */
  suspend(result: number): number {
    const tag = this.#tag;
    this.#tag = NONE;
    if (this.#left[tag] === 0) this.#complete(tag);
    return result;
  }

  readv(file: HostFile, pieces: Pieces, fileOffset: number): number {
    const length = pieces.bytes;
    const handle = file.reaches(fileOffset + length) ? file.transferHandle(pieces, fileOffset) : undefined;
    if (handle === undefined) {
      this.drain();
      return file.readv(this.#ram, pieces, fileOffset);
    }
    for (;;) {
      const begun = this.#io.read(this.#tag, handle, pieces, fileOffset);
      if (begun !== EAGAIN) return this.#count(begun, length);
      this.#makeRoom();
    }
  }

  writev(file: HostFile, pieces: Pieces, fileOffset: number, dsync: boolean): number {
    const handle = file.transferHandle(pieces, fileOffset);
    if (handle === undefined) {
      this.drain();
      return file.writev(this.#ram, pieces, fileOffset, dsync);
    }
    const length = pieces.bytes;
    for (;;) {
      const begun = this.#io.write(this.#tag, handle, pieces, fileOffset, dsync);
      if (begun !== EAGAIN) return this.#count(begun, length);
      this.#makeRoom();
    }
  }

  /** Queues a flush of `file`: completed writes are then on stable storage. 0 or -errno. */
  flush(file: HostFile): number {
    for (;;) {
      const begun = this.#io.flush(this.#tag, file);
      if (begun !== EAGAIN) return this.#count(begun, 0);
      this.#makeRoom();
    }
  }

  /** Queues a discard of bytes of `file`, which is not a block device. 0 or -errno. */
  discard(file: HostFile, offset: number, length: number): number {
    for (;;) {
      const begun = this.#io.discard(this.#tag, file, offset, length);
      if (begun !== EAGAIN) return this.#count(begun, 0);
      this.#makeRoom();
    }
  }

  /** Queues zeros for bytes of `file`, which is not a block device. 0 or -errno. */
  writeZeroes(file: HostFile, offset: number, length: number, mayUnmap: boolean): number {
    for (;;) {
      const begun = this.#io.writeZeroes(this.#tag, file, offset, length, mayUnmap);
      if (begun !== EAGAIN) return this.#count(begun, 0);
      this.#makeRoom();
    }
  }

  window(offset: number, length: number): Uint8Array {
    return this.#memory.window(offset, length);
  }

  submit(): void {
    if (!this.#unsubmitted) return;
    this.#unsubmitted = false;
    this.#io.submit();
  }

  /** The tag of a completed request, once for each, and sets `result`; -1 if there is none now. */
  take(): number {
    if (this.#completedCount === 0 && this.#inFlight > 0) this.#reap();
    if (this.#completedCount === 0) return NONE;
    const tag = this.#completed[this.#firstCompleted];
    this.#firstCompleted = (this.#firstCompleted + 1) % this.#completed.length;
    this.#completedCount--;
    this.#open[tag] = 0;
    this.result = this.#resultFor(tag);
    return tag;
  }

  /** Waits until nothing is in flight. */
  drain(): void {
    while (this.#inFlight > 0) this.#makeRoom();
  }

  /** Counts a transfer that was queued, unless it has completed. Returns its length, or -errno if it was not queued. */
  #count(begun: number, length: number): number {
    if (begun !== 0) return begun;
    const tag = this.#tag;
    this.#left[tag]++;
    this.#missing[tag] += length;
    this.#inFlight++;
    this.#unsubmitted = true;
    return length;
  }

  /** Waits until a transfer completes. */
  #makeRoom(): void {
    this.#unsubmitted = false;
    this.#io.wait();
    this.#reap();
  }

  #reap(): void {
    const { tags, results } = this.#io;
    let count: number;
    do {
      count = this.#io.reap();
      for (let i = 0; i < count; i++) this.#finish(tags[i], results[i]);
    } while (count === tags.length);
  }

  #finish(tag: number, result: number): void {
    this.#inFlight--;
    if (result < 0) this.#failure[tag] = result;
    else this.#missing[tag] -= result;
    this.#left[tag]--;
    // The request that is being split completes in `end`, or `suspend`.
    if (this.#left[tag] === 0 && tag !== this.#tag) this.#complete(tag);
  }

  #complete(tag: number): void {
    this.#completed[(this.#firstCompleted + this.#completedCount) % this.#completed.length] = tag;
    this.#completedCount++;
  }

  #resultFor(tag: number): number {
    if (this.#failure[tag] < 0) return this.#failure[tag];
    const result = this.#results[tag];
    // A file that is now shorter than before has lost data.
    return result >= 0 && this.#missing[tag] > 0 ? EIO : result;
  }
}
