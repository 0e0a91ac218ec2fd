/**
 * Queues of virtio that the host's kernel serves, in place of the io thread: one
 * descriptor of /dev/vhost-net for a queue pair, or one of /dev/vhost-vsock.
 *
 * Source: <linux/vhost.h>.
 */
import { check, SystemError } from "./errors.ts";
import type { EventFd } from "./event.ts";
import type { FrameDescriptor } from "./frame-descriptor.ts";
import type { GuestRam } from "./guest-ram.ts";
import { type NativeVhost, native } from "./native.ts";

const EBUSY = -16;

/** Guest RAM as the kernel sees it: a guest-physical address, and where it lies in the mapping. */
interface Region {
  readonly address: number;
  readonly offset: number;
  readonly size: number;
}

/** Offsets in guest RAM. */
interface RingPlace {
  /** Descriptors. */
  readonly size: number;
  readonly table: number;
  readonly avail: number;
  readonly used: number;
}

export class Vhost {
  readonly #native: NativeVhost;

  private constructor(handle: NativeVhost) {
    this.#native = handle;
  }

  /** @throws {SystemError} ENOENT without such a device, EACCES */
  static open(path: string): Vhost {
    const handle = new native.Vhost();
    check(handle.open(path), `open(${path})`, "opening a device for virtio in the kernel");
    return Vhost.#owned(handle);
  }

  /** A duplicate of descriptor `number` of this process. @throws {SystemError} if it is not one of a vhost device */
  static adopt(number: number): Vhost {
    const handle = new native.Vhost();
    check(handle.adopt(number), "dup", `using descriptor ${number} for virtio in the kernel`);
    return Vhost.#owned(handle);
  }

  /** The descriptor whose token another thread sent. @throws {SystemError} ENOENT if it is closed. */
  static attach(token: number): Vhost {
    const handle = new native.Vhost();
    check(handle.attach(token), "attach(vhost)", "sharing a vhost descriptor with a thread");
    return new Vhost(handle);
  }

  static #owned(handle: NativeVhost): Vhost {
    const result = handle.setOwner();
    // It is this process's own already: the program has used the descriptor before.
    if (result < 0 && result !== EBUSY) {
      handle.close();
      throw new SystemError(result, "VHOST_SET_OWNER", "preparing virtio in the kernel");
    }
    return new Vhost(handle);
  }

  get token(): number {
    return check(this.#native.token(), "token(vhost)", "sharing a vhost descriptor with a thread");
  }

  /** What the kernel offers. */
  get features(): { readonly low: number; readonly high: number } {
    const out = new Uint32Array(2);
    check(this.#native.features(out), "VHOST_GET_FEATURES", "asking what virtio in the kernel offers");
    return { low: out[0], high: out[1] };
  }

  setFeatures(low: number, high: number): void {
    const doing = "setting the features of virtio in the kernel";
    check(this.#native.setFeatures(low >>> 0, high >>> 0), "VHOST_SET_FEATURES", doing);
  }

  /** Shows guest RAM to the kernel. The mapping stays until `forgetMemory` or `close`. */
  setMemory(ram: GuestRam, regions: readonly Region[]): void {
    const numbers = regions.flatMap(({ address, offset, size }) => [address, offset, size]);
    const result = this.#native.setMemory(ram.native, Float64Array.from(numbers));
    check(result, "VHOST_SET_MEM_TABLE", "showing guest RAM to virtio in the kernel");
  }

  forgetMemory(): void {
    this.#native.setMemory(undefined, new Float64Array(0));
  }

  /** @param base the index in the available ring that comes next */
  setRing(index: number, { size, table, avail, used }: RingPlace, base: number): void {
    const result = this.#native.setRing(index, size, base, table, avail, used);
    check(result, "VHOST_SET_VRING_ADDR", "showing a queue to virtio in the kernel");
  }

  /** @param kick the driver's notification @param call the kernel's @param error the kernel cannot serve the queue */
  setEvents(index: number, kick: EventFd, call: EventFd, error: EventFd): void {
    const result = this.#native.setEvents(index, kick.native, call.native, error.native);
    check(result, "VHOST_SET_VRING_KICK", "connecting a queue to virtio in the kernel");
  }

  /** The kernel serves queue `index`, with the frames of `tap`; undefined: it has stopped when this returns. */
  setNetBackend(index: number, tap: FrameDescriptor | undefined): void {
    const result = this.#native.setNetBackend(index, tap?.native);
    check(result, "VHOST_NET_SET_BACKEND", "connecting a tap interface to virtio in the kernel");
  }

  /** The index in the available ring that comes next, of a queue that is stopped. */
  ringBase(index: number): number {
    return check(this.#native.ringBase(index), "VHOST_GET_VRING_BASE", "taking a queue back from the kernel");
  }

  /** Of /dev/vhost-vsock. @throws {SystemError} EADDRINUSE if another guest has it */
  setGuestCid(cid: number): void {
    check(
      this.#native.setGuestCid(cid),
      "VHOST_VSOCK_SET_GUEST_CID",
      `giving a guest the vsock address ${cid}`,
    );
  }

  /** Of /dev/vhost-vsock: the kernel serves both queues, or none when this returns. */
  setRunning(on: boolean): void {
    check(this.#native.setRunning(on), "VHOST_VSOCK_SET_RUNNING", "starting vsock in the kernel");
  }

  close(): void {
    this.#native.close();
  }
}
