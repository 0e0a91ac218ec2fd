/**
 * A descriptor that carries Ethernet frames, one in each system call: a queue of a tap
 * interface. No call waits.
 *
 * Source: <linux/if_tun.h>, Documentation/networking/tuntap.rst.
 */
import { EINVAL } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import { check, SystemError } from "./errors.ts";
import { Waitable } from "./event.ts";
import type { GuestRam } from "./guest-ram.ts";
import { type NativeNetIo, native } from "./native.ts";

// Flags of TUNSETIFF.
const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;
const NAME_BYTES = 16;

export class FrameDescriptor extends Waitable {
  /** The handle, for what waits for frames. */
  readonly native: NativeNetIo;

  private constructor(handle: NativeNetIo) {
    super();
    this.native = handle;
  }

  /**
   * Opens one queue of a tap interface, and makes the interface if there is none of that name. It then exists
   * until its last descriptor is closed.
   *
   * @param name "tap%d": the kernel selects a number
   * @throws {SystemError} EPERM for another user's interface, or without CAP_NET_ADMIN; EBUSY
   */
  static openTap(
    name: string,
    isMulti: boolean,
    withHeader: boolean,
  ): { tap: FrameDescriptor; name: string } {
    const handle = new native.NetIo();
    const out = new Uint8Array(NAME_BYTES);
    const flags = IFF_TAP | IFF_NO_PI | (withHeader ? IFF_VNET_HDR : 0);
    let result = handle.openTap(name, flags | (isMulti ? IFF_MULTI_QUEUE : 0), out);
    // One that was made for several queues is opened as such, or not at all.
    if (result === EINVAL && !isMulti) result = handle.openTap(name, flags | IFF_MULTI_QUEUE, out);
    if (result < 0)
      throw new SystemError(result, "TUNSETIFF", `opening the tap interface "${name}"`, advice(name, result));
    const end = out.indexOf(0);
    return { tap: new FrameDescriptor(handle), name: String.fromCharCode(...out.subarray(0, end)) };
  }

  /** A duplicate of descriptor `number` of this process. @throws {SystemError} EBADF if it is not open */
  static adopt(number: number): FrameDescriptor {
    const handle = new native.NetIo();
    check(handle.adopt(number), "dup", `using descriptor ${number} for frames`);
    return new FrameDescriptor(handle);
  }

  /** The descriptor whose token another thread sent. @throws {SystemError} ENOENT if it is closed. */
  static attach(token: number): FrameDescriptor {
    const handle = new native.NetIo();
    check(handle.attach(token), "attach(tap)", "sharing a tap interface with a thread");
    return new FrameDescriptor(handle);
  }

  get token(): number {
    return check(this.native.token(), "token(tap)", "sharing a tap interface with a thread");
  }

  /** IFF_ flags of a tap interface's queue. @throws {SystemError} if it is something else */
  get tapFlags(): number {
    const doing = "asking a descriptor for its tap interface";
    return check(this.native.tapFlags(), "TUNGETIFF", doing);
  }

  /** Bytes of the virtio-net header that is before each frame. @throws {SystemError} */
  setHeaderSize(bytes: number): void {
    check(this.native.setHeaderSize(bytes), "TUNSETVNETHDRSZ", "setting the header of a tap interface");
  }

  /** What the receiver of its frames completes itself: TUN_F_ bits. False if the kernel cannot do all of it. */
  setOffload(flags: number): boolean {
    return this.native.setOffload(flags) >= 0;
  }

  /** Bytes that may be queued before `send` returns EAGAIN. @throws {SystemError} */
  setSendBuffer(bytes: number): void {
    check(this.native.setSendBuffer(bytes), "TUNSETSNDBUF", "setting the send buffer of a tap interface");
  }

  /** Attaches this queue to its interface, or detaches it. */
  setQueue(on: boolean): void {
    this.native.setQueue(on);
  }

  /** @returns bytes, or -errno: EAGAIN if there is no frame */
  receive(into: Uint8Array): number {
    return this.native.receive(into);
  }

  /** @returns bytes, or -errno */
  send(head: Uint8Array, ram: GuestRam, { pairs, first, count }: Pieces): number {
    return this.native.send(head, ram.native, pairs, first, count);
  }

  close(): void {
    this.native.close();
  }
}

function advice(name: string, result: number): string | undefined {
  switch (result) {
    case -1:
      return `This user may not: make it once with "sudo ip tuntap add dev ${name} mode tap user $USER", and "sudo ip link set ${name} up".`;
    case -2:
      return 'There is no /dev/net/tun: load it with "sudo modprobe tun".';
    case -13:
      return "This user may not open /dev/net/tun.";
    case -16:
      return "Another program uses it, or it has one queue and more were wanted.";
    case EINVAL:
      return "The interface exists and is not a tap interface of the same kind.";
    default:
      return undefined;
  }
}
