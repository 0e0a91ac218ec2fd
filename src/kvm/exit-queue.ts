/**
 * Where vCPUs wait that one thread serves. The thread runs one of them itself; the
 * others run apart (Vcpu.runApart), and are in the queue when they have left the
 * guest.
 */
import { EAGAIN } from "../base/errno.ts";
import { type NativeExitQueue, native } from "../sys/native.ts";
import { check, fail } from "./errors.ts";

/** What `take` returns after `wake`. */
export const WOKEN = 0xffff_ffff;
/** What `take` returns when its time has passed. */
export const NOBODY = -1;

export class ExitQueue {
  /** The handle, for the vCPUs. */
  readonly native: NativeExitQueue;
  readonly #wanted: Uint32Array;

  private constructor(handle: NativeExitQueue) {
    const wanted = handle.wanted();
    if (typeof wanted === "number") fail(wanted, "wanted(queue)", "sharing a thread among vCPUs");
    this.native = handle;
    this.#wanted = new Uint32Array(wanted);
  }

  /** @param shareUs how long a vCPU may keep the thread while others wait */
  static create(shareUs: number): ExitQueue {
    const handle = new native.ExitQueue();
    check(handle.create(shareUs), "create(queue)", "sharing a thread among vCPUs");
    return new ExitQueue(handle);
  }

  /** The queue whose token another thread sent. @throws {KvmError} ENOENT if it is closed. */
  static attach(token: number): ExitQueue {
    const handle = new native.ExitQueue();
    check(handle.attach(token), "attach(queue)", "sharing a thread among vCPUs");
    return new ExitQueue(handle);
  }

  /** Names this queue in every thread; valid until its last handle closes. */
  get token(): number {
    return check(this.native.token(), "token(queue)", "sharing a thread among vCPUs");
  }

  /** True if the thread has to leave the vCPU that it runs: others wait, or `wake` was called. */
  get wanted(): boolean {
    return this.#wanted[0] !== 0;
  }

  /**
   * Blocks the thread until a vCPU has left the guest.
   * @param timeoutMs -1 waits for ever
   * @returns its tag, WOKEN, or NOBODY after the time
   */
  take(timeoutMs: number): number {
    const result = this.native.take(timeoutMs);
    if (result >= 0) return result;
    if (result === EAGAIN) return NOBODY;
    return fail(result, "take(queue)", "waiting for the exits of vCPUs");
  }

  /** Makes `take` return, and the vCPU that the thread runs leave the guest. From any thread. */
  wake(): void {
    check(this.native.wake(), "wake(queue)", "sharing a thread among vCPUs");
  }

  /** Closing twice does nothing. */
  close(): void {
    this.native.close();
  }
}
