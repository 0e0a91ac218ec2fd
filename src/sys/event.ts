/**
 * Events, and a thread's sleep until one is signalled.
 *
 * Source: eventfd(2), epoll(7). KVM writes an EventFd for an ioeventfd and reads
 * it for an irqfd; threads signal it to each other.
 */
import { EAGAIN, EINTR } from "../base/errno.ts";
import { check, SystemError } from "./errors.ts";
import { type NativeEpoll, type NativeEventFd, type NativeNetIo, native } from "./native.ts";

/** What a thread can sleep on: an event, or a descriptor that frames come from. */
export abstract class Waitable {
  /** The handle, for the classes that pass it to the kernel. */
  abstract readonly native: NativeEventFd | NativeNetIo;
}

export class EventFd extends Waitable {
  /** The handle, for the classes that pass events to the kernel. */
  readonly native: NativeEventFd;

  private constructor(handle: NativeEventFd) {
    super();
    this.native = handle;
  }

  /** An event that is not signalled. @throws {SystemError} EMFILE when the process has too many descriptors. */
  static create(): EventFd {
    const handle = new native.EventFd();
    check(handle.create(), "eventfd", "making an event");
    return new EventFd(handle);
  }

  /** The event whose token another thread sent. @throws {SystemError} ENOENT if it is closed. */
  static attach(token: number): EventFd {
    const handle = new native.EventFd();
    check(handle.attach(token), "attach(eventfd)", "sharing an event with a thread");
    return new EventFd(handle);
  }

  /** Names this event in every thread; valid until the last handle closes. */
  get token(): number {
    return check(this.native.token(), "token(eventfd)", "sharing an event with a thread");
  }

  /** Signals the event. From any thread; several signals before a `take` are one for a waiter. */
  signal(): void {
    const result = this.native.signal();
    if (result < 0) throw new SystemError(result, "write(eventfd)", "signalling an event");
  }

  /** The number of signals since the last `take`. */
  take(): number {
    const result = this.native.take();
    if (result >= 0) return result;
    if (result === EAGAIN) return 0;
    throw new SystemError(result, "read(eventfd)", "reading an event");
  }

  /** Closes this handle; the event is closed with its last handle. Closing twice does nothing. */
  close(): void {
    this.native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class Epoll {
  readonly #native: NativeEpoll;

  constructor() {
    this.#native = new native.Epoll();
    check(this.#native.create(), "epoll_create1", "preparing to wait for events");
  }

  /**
   * Makes `wait` report `tag` after the event was signalled, once for any number of signals. The event need
   * not be taken for that, which saves a system call for each doorbell.
   *
   * @param tag any unsigned 32-bit number
   * @throws {SystemError} EEXIST if it was added already.
   */
  add(event: Waitable, tag: number): void {
    check(this.#native.add(event.native, tag), "epoll_ctl", "waiting for an event");
  }

  /** @throws {SystemError} ENOENT if it was not added. */
  remove(event: Waitable): void {
    check(this.#native.remove(event.native), "epoll_ctl", "no longer waiting for an event");
  }

  /**
   * Blocks the thread until an event is signalled.
   *
   * @param tags is filled with the tags of signalled events, at most 64 at a time
   * @param timeoutMs -1 waits for ever, 0 does not wait
   * @returns how many; 0 after the time, or when a POSIX signal ended the wait
   */
  wait(tags: Uint32Array, timeoutMs: number): number {
    const result = this.#native.wait(tags, timeoutMs);
    if (result >= 0) return result;
    if (result === EINTR) return 0;
    throw new SystemError(result, "epoll_wait", "waiting for events");
  }

  /** Closing twice does nothing. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
