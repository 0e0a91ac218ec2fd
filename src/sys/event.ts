/**
 * Doorbells, and a thread's sleep until one rings.
 *
 * Source: eventfd(2), epoll(7). KVM writes an EventFd for an ioeventfd and reads
 * it for an irqfd; threads ring it for each other.
 */
import { EAGAIN, EINTR } from "../base/errno.ts";
import { check, SystemError } from "./errors.ts";
import { type NativeEpoll, type NativeEventFd, native } from "./native.ts";

export class EventFd {
  /** The handle, for the classes that pass events to the kernel. */
  readonly native: NativeEventFd;

  private constructor(handle: NativeEventFd) {
    this.native = handle;
  }

  /** An event that has not rung. @throws {SystemError} EMFILE when the process has too many descriptors. */
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

  /** Rings. From any thread; several rings before a `take` count as one for whoever waits. */
  signal(): void {
    const result = this.native.signal();
    if (result < 0) throw new SystemError(result, "write(eventfd)", "signalling an event");
  }

  /** How often it rang since the last `take`; 0 if it did not. */
  take(): number {
    const result = this.native.take();
    if (result >= 0) return result;
    if (result === EAGAIN) return 0;
    throw new SystemError(result, "read(eventfd)", "reading an event");
  }

  /** Lets go of the event; the last handle closes it. Closing twice does nothing. */
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
   * Makes `wait` report `tag` after the event has rung, once however often it did. The event need not be
   * taken for that: a system call less for each doorbell.
   *
   * @param tag any unsigned 32-bit number
   * @throws {SystemError} EEXIST if it is there already.
   */
  add(event: EventFd, tag: number): void {
    check(this.#native.add(event.native, tag), "epoll_ctl", "waiting for an event");
  }

  /** @throws {SystemError} ENOENT if it is not there. */
  remove(event: EventFd): void {
    check(this.#native.remove(event.native), "epoll_ctl", "no longer waiting for an event");
  }

  /**
   * Blocks the thread until an event rings.
   *
   * @param tags filled with the tags of events that rang, at most 64 at a time
   * @param timeoutMs -1 waits for ever, 0 only looks
   * @returns how many; 0 after the time, or when a signal ended the wait
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
