/**
 * Transfers between files and guest RAM that do not block their thread: queued,
 * submitted in batches, and reaped when they have completed.
 *
 * Source: io_uring(7). Where that is not permitted, a pool of threads blocks for
 * the caller.
 */
import { BackOff } from "../base/back-off.ts";
import type { Pieces } from "../base/pieces.ts";
import { check } from "./errors.ts";
import { EventFd } from "./event.ts";
import type { HostFile } from "./file.ts";
import type { GuestRam } from "./guest-ram.ts";
import { type NativeAsyncIo, type NativeFileIo, native } from "./native.ts";

export const ASYNC_ENGINES = ["io_uring", "threads"] as const;
export type AsyncEngine = (typeof ASYNC_ENGINES)[number];

/** The largest number of requests that are reaped at once. */
const BATCH = 256;

export class AsyncIo {
  /** Signalled when requests complete by themselves; not for those that have completed when `submit` returns. */
  readonly event: EventFd;
  /** The tags of the requests that `reap` found, */
  readonly tags = new Uint32Array(BATCH);
  /** and their results: bytes moved, fewer than requested only at the end of the file; or -errno. */
  readonly results = new Float64Array(BATCH);
  readonly #native: NativeAsyncIo;
  readonly #eager: boolean;
  readonly #files = new Map<NativeFileIo, AsyncFile>();
  /** Most requests are for the same file as the last one. */
  #lastFile: AsyncFile | undefined;

  private constructor(handle: NativeAsyncIo, event: EventFd, eager: boolean) {
    this.#native = handle;
    this.event = event;
    this.#eager = eager;
  }

  /**
   * @param ram the memory of transfers
   * @param depth the largest number of requests in flight
   * @param eager true (the default): data in the page cache is moved at once. After each miss the next
   *   transfers of that file skip the cache. False: the page cache is never tried first, so the caller does
   *   not wait for the copy
   * @throws {SystemError} EPERM or ENOSYS where io_uring is not available; ENOMEM
   */
  static open(engine: AsyncEngine, ram: GuestRam, depth: number, { eager = true } = {}): AsyncIo {
    const event = EventFd.create();
    const handle = new native.AsyncIo();
    const result = handle.create(ASYNC_ENGINES.indexOf(engine), depth, event.native, ram.native);
    if (result < 0) event.close();
    check(result, engine === "io_uring" ? "io_uring_setup" : "create threads", "preparing disk I/O");
    return new AsyncIo(handle, event, eager);
  }

  /**
   * Queues a read from a file into pieces of RAM; as HostFile.readv.
   *
   * @param file from HostFile.transferHandle; stays open until this is closed
   * @returns 0; or the number of bytes if all of them were moved at once, without a
   *   device: then `reap` does not return the request. -EAGAIN if `depth` requests are
   *   in flight; or -errno
   */
  read(tag: number, file: NativeFileIo, pieces: Pieces, offset: number): number {
    const { number, cache } = this.#find(file);
    const { pairs, first, count } = pieces;
    if (!this.#eager || !cache.take()) return this.#native.read(tag, number, pairs, first, count, offset);
    const result = this.#native.readCached(tag, number, pairs, first, count, offset);
    cache.tried(result > 0);
    return result;
  }

  /** The other way; as HostFile.writev. */
  write(tag: number, file: NativeFileIo, pieces: Pieces, offset: number, dsync: boolean): number {
    const { number, cache } = this.#find(file);
    const { pairs, first, count } = pieces;
    if (dsync) return this.#native.writeThrough(tag, number, pairs, first, count, offset);
    if (!this.#eager || !cache.take()) return this.#native.write(tag, number, pairs, first, count, offset);
    const result = this.#native.writeCached(tag, number, pairs, first, count, offset);
    cache.tried(result > 0);
    return result;
  }

  /** Queues a flush: requests that have completed are then on stable storage. */
  flush(tag: number, file: HostFile): number {
    return this.#native.flush(tag, this.#find(file.native).number);
  }

  /** Queues what HostFile.discard does, for a file that is not a block device. */
  discard(tag: number, file: HostFile, offset: number, length: number): number {
    return this.#native.discard(tag, this.#find(file.native).number, offset, length);
  }

  /** Queues what HostFile.writeZeroes does, for a file that is not a block device. */
  writeZeroes(tag: number, file: HostFile, offset: number, length: number, mayUnmap: boolean): number {
    return this.#native.writeZeroes(tag, this.#find(file.native).number, offset, length, mayUnmap);
  }

  /** Submits queued requests to the kernel, in one system call. @throws {SystemError} */
  submit(): void {
    check(this.#native.submit(), "io_uring_enter", "handing I/O to the kernel");
  }

  /** Takes completed requests: fills `tags` and `results`. Returns how many; call again if both are full. */
  reap(): number {
    return check(this.#native.reap(this.tags, this.results), "reap", "taking finished I/O");
  }

  /** Submits, and blocks until a request completes, if any is in flight. @throws {SystemError} */
  wait(): void {
    check(this.#native.wait(), "io_uring_enter", "waiting for I/O");
  }

  /** Waits for requests in flight, and closes. Closing twice does nothing. */
  close(): void {
    this.#native.close();
    this.event.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #find(handle: NativeFileIo): AsyncFile {
    if (this.#lastFile?.handle === handle) return this.#lastFile;
    let file = this.#files.get(handle);
    if (file === undefined) {
      const number = check(this.#native.addFile(handle), "addFile", "preparing a file for disk I/O");
      file = { handle, number, cache: new BackOff() };
      this.#files.set(handle, file);
    }
    this.#lastFile = file;
    return file;
  }
}

/** A file of requests. */
interface AsyncFile {
  readonly handle: NativeFileIo;
  /** Its name in the addon. */
  readonly number: number;
  /** When to try the page cache first. */
  readonly cache: BackOff;
}
