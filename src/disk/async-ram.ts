/**
 * Guest RAM for requests that are begun now and over later.
 *
 * To an image it looks as if transfers were over at once, so no format knows of
 * asynchrony: it cuts a request into transfers, between `begin` and `end`, and
 * here is counted which of them are still under way. An image that may only go
 * on once data is where it belongs calls `drain`.
 *
 * Some transfers are made at once all the same: those that reach behind the end
 * of a file, because of which an image treats a short result as zeros; and those
 * that O_DIRECT cannot take, which go through the page cache, and alone.
 */
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { AsyncIo } from "../sys/async-io.ts";
import type { HostFile } from "../sys/file.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import { EINPROGRESS, EIO } from "./backend.ts";
import { bytesOf, type IoMemory } from "./io-memory.ts";

const EAGAIN = -11;
const NONE = -1;

export class AsyncRam implements IoMemory {
  /** Of the request that `take` gave. */
  result = 0;
  readonly #io: AsyncIo;
  readonly #ram: GuestRam;
  readonly #memory: GuestMemory;
  // By tag: transfers under way; bytes of them that have not moved; -errno of one
  // that failed, or 0; and what the image gives as the result if none does.
  readonly #left: Int32Array;
  readonly #missing: Float64Array;
  readonly #failure: Int32Array;
  readonly #results: Float64Array;
  /** A ring of the tags of requests that are over. */
  readonly #over: Uint32Array;
  #firstOver = 0;
  #overCount = 0;
  #underWay = 0;
  /** Something was begun and not submitted. */
  #unsent = false;
  /** Of the request that an image is cutting up. */
  #tag = NONE;

  /** @param tags requests have tags below this, and no two under way have the same */
  constructor(io: AsyncIo, ram: GuestRam, memory: GuestMemory, tags: number) {
    this.#io = io;
    this.#ram = ram;
    this.#memory = memory;
    this.#left = new Int32Array(tags);
    this.#missing = new Float64Array(tags);
    this.#failure = new Int32Array(tags);
    this.#results = new Float64Array(tags);
    this.#over = new Uint32Array(tags);
  }

  /** From here on transfers belong to request `tag`. */
  begin(tag: number): void {
    this.#tag = tag;
    this.#left[tag] = 0;
    this.#missing[tag] = 0;
    this.#failure[tag] = 0;
  }

  /** The request is cut up. Returns its result, or EINPROGRESS if transfers are under way; then `take` gives it. */
  end(result: number): number {
    const tag = this.#tag;
    this.#tag = NONE;
    this.#results[tag] = result;
    return this.#left[tag] === 0 ? this.#resultOf(tag) : EINPROGRESS;
  }

  readv(file: HostFile, iov: Float64Array, first: number, count: number, fileOffset: number): number {
    const length = bytesOf(iov, first, count);
    const handle = file.reaches(fileOffset + length)
      ? file.transferHandle(iov, first, count, fileOffset)
      : undefined;
    if (handle === undefined) {
      this.drain();
      return file.readv(this.#ram, iov, first, count, fileOffset);
    }
    for (;;) {
      const begun = this.#io.read(this.#tag, handle, iov, first, count, fileOffset);
      if (begun !== EAGAIN) return this.#count(begun, length);
      this.#makeRoom();
    }
  }

  writev(
    file: HostFile,
    iov: Float64Array,
    first: number,
    count: number,
    fileOffset: number,
    dsync: boolean,
  ): number {
    const handle = file.transferHandle(iov, first, count, fileOffset);
    if (handle === undefined) {
      this.drain();
      return file.writev(this.#ram, iov, first, count, fileOffset, dsync);
    }
    const length = bytesOf(iov, first, count);
    for (;;) {
      const begun = this.#io.write(this.#tag, handle, iov, first, count, fileOffset, dsync);
      if (begun !== EAGAIN) return this.#count(begun, length);
      this.#makeRoom();
    }
  }

  /** Begins to put on stable storage what `file` was given and is over. 0 or -errno. */
  flush(file: HostFile): number {
    for (;;) {
      const begun = this.#io.flush(this.#tag, file);
      if (begun !== EAGAIN) return this.#count(begun, 0);
      this.#makeRoom();
    }
  }

  window(offset: number, length: number): Uint8Array {
    return this.#memory.window(offset, length);
  }

  submit(): void {
    if (!this.#unsent) return;
    this.#unsent = false;
    this.#io.submit();
  }

  /** The tag of a request that is over, once each, and `result`; -1 if there is none now. */
  take(): number {
    if (this.#overCount === 0 && this.#underWay > 0) this.#reap();
    if (this.#overCount === 0) return NONE;
    const tag = this.#over[this.#firstOver];
    this.#firstOver = (this.#firstOver + 1) % this.#over.length;
    this.#overCount--;
    this.result = this.#resultOf(tag);
    return tag;
  }

  /** Waits until nothing is under way. */
  drain(): void {
    while (this.#underWay > 0) this.#makeRoom();
  }

  /** Notes that a transfer was begun, unless it is over. Returns its length, or -errno if it was not. */
  #count(begun: number, length: number): number {
    if (begun !== 0) return begun;
    const tag = this.#tag;
    this.#left[tag]++;
    this.#missing[tag] += length;
    this.#underWay++;
    this.#unsent = true;
    return length;
  }

  /** Waits until something is over. */
  #makeRoom(): void {
    this.#unsent = false;
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
    this.#underWay--;
    if (result < 0) this.#failure[tag] = result;
    else this.#missing[tag] -= result;
    this.#left[tag]--;
    // The one that is being cut up is over when `end` says so.
    if (this.#left[tag] > 0 || tag === this.#tag) return;
    this.#over[(this.#firstOver + this.#overCount) % this.#over.length] = tag;
    this.#overCount++;
  }

  #resultOf(tag: number): number {
    if (this.#failure[tag] < 0) return this.#failure[tag];
    const result = this.#results[tag];
    // A file that ends before what was there a moment ago has lost data.
    return result >= 0 && this.#missing[tag] > 0 ? EIO : result;
  }
}
