/**
 * Transfers between files and guest RAM that do not block their thread: begun,
 * submitted in batches, and reaped when they are over.
 *
 * Source: io_uring(7). Where that is not permitted, a pool of threads blocks in
 * the caller's place.
 */
import { check } from "./errors.ts";
import { EventFd } from "./event.ts";
import type { HostFile } from "./file.ts";
import type { GuestRam } from "./guest-ram.ts";
import { type NativeAsyncIo, type NativeFileIo, native } from "./native.ts";

export const ASYNC_ENGINES = ["io_uring", "threads"] as const;
export type AsyncEngine = (typeof ASYNC_ENGINES)[number];

/** Reaped at once. */
const BATCH = 256;

export class AsyncIo {
  /** Rings when requests end by themselves; not for what is over when `submit` returns. */
  readonly event: EventFd;
  /** What `reap` found: the tags of requests, */
  readonly tags = new Uint32Array(BATCH);
  /** and their results: bytes moved, fewer than asked for only at the end of the file; or -errno. */
  readonly results = new Float64Array(BATCH);
  readonly #native: NativeAsyncIo;
  /** By handle: its number to the addon. Most requests are for the same file as the last. */
  readonly #files = new Map<NativeFileIo, number>();
  #lastFile: NativeFileIo | undefined;
  #lastNumber = 0;

  private constructor(handle: NativeAsyncIo, event: EventFd) {
    this.#native = handle;
    this.event = event;
  }

  /**
   * @param ram where transfers move from and to
   * @param depth requests that may be under way at a time
   * @param eager true (the default): what the page cache holds is moved when it is asked for. False:
   *   nothing is; for who wants to do something else meanwhile
   * @throws {SystemError} EPERM or ENOSYS where io_uring is not to be had; ENOMEM
   */
  static open(engine: AsyncEngine, ram: GuestRam, depth: number, { eager = true } = {}): AsyncIo {
    const event = EventFd.create();
    const handle = new native.AsyncIo();
    const result = handle.create(ASYNC_ENGINES.indexOf(engine), depth, event.native, eager, ram.native);
    if (result < 0) event.close();
    check(result, engine === "io_uring" ? "io_uring_setup" : "create threads", "preparing disk I/O");
    return new AsyncIo(handle, event);
  }

  /**
   * Begins to fill pieces of RAM from a file; as HostFile.readv.
   *
   * @param file from HostFile.transferHandle; stays open until this is closed
   * @returns 0; or the number of bytes if all of them moved at once, because no
   *   device was needed: then `reap` does not give it. -EAGAIN if as many requests as
   *   there may be are under way; or -errno
   */
  read(
    tag: number,
    file: NativeFileIo,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
  ): number {
    return this.#native.read(tag, this.#numberOf(file), iov, first, count, offset);
  }

  /** The other way; as HostFile.writev. */
  write(
    tag: number,
    file: NativeFileIo,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
  ): number {
    const number = this.#numberOf(file);
    return dsync
      ? this.#native.writeThrough(tag, number, iov, first, count, offset)
      : this.#native.write(tag, number, iov, first, count, offset);
  }

  /** Begins to put on stable storage what is over now. */
  flush(tag: number, file: HostFile): number {
    return this.#native.flush(tag, this.#numberOf(file.native));
  }

  /** Hands what was begun to the kernel, in one system call. @throws {SystemError} */
  submit(): void {
    check(this.#native.submit(), "io_uring_enter", "handing I/O to the kernel");
  }

  /** Takes requests that are over: fills `tags` and `results`. Returns how many; call again if both are full. */
  reap(): number {
    return check(this.#native.reap(this.tags, this.results), "reap", "taking finished I/O");
  }

  /** Submits, and blocks until a request is over, if any is under way. @throws {SystemError} */
  wait(): void {
    check(this.#native.wait(), "io_uring_enter", "waiting for I/O");
  }

  /** Waits for what is under way. Closing twice does nothing. */
  close(): void {
    this.#native.close();
    this.event.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #numberOf(file: NativeFileIo): number {
    if (file !== this.#lastFile) {
      let number = this.#files.get(file);
      if (number === undefined) {
        number = check(this.#native.addFile(file), "addFile", "preparing a file for disk I/O");
        this.#files.set(file, number);
      }
      this.#lastFile = file;
      this.#lastNumber = number;
    }
    return this.#lastNumber;
  }
}
