/**
 * virtio-vsock: streams between programs of the guest and of the host. The device only
 * passes packets on: connections are made and ended by the program's thread
 * (net/vsock), or by the host's kernel, which then serves the first two queues itself.
 *
 * A packet for the guest may be larger than the driver's buffers: it becomes several.
 *
 * Source: VIRTIO 1.2, 5.10 (Socket Device).
 *
 * Not offered: SEQPACKET.
 */
import { EAGAIN } from "../../base/errno.ts";
import { layout } from "../../base/layout.ts";
import { Pieces } from "../../base/pieces.ts";
import { NEVER } from "../../bus/io-task.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { NetBackend } from "../../net/backend.ts";
import { HEADER_BYTES, LENGTH, MAX_DATA_BYTES, RESET_RECORD } from "../../net/vsock/packet.ts";
import type { DeviceQueue, Property, VirtioDevice } from "../device.ts";
import { BrokenQueue, Chain } from "../queue/chain.ts";
import { DEVICE_ID_SOCKET } from "../spec.ts";

// 5.10.2, Virtqueues.
const RECEIVE = 0;
const SEND = 1;
const EVENTS = 2;
const QUEUE_SIZE = 128;

/** 5.10.3. Without it a device has streams too. */
const VSOCK_F_STREAM = 1 << 0;
const CONFIG_BYTES = 8;

/** 5.10.6.8: struct virtio_vsock_event with VIRTIO_VSOCK_EVENT_TRANSPORT_RESET. */
const TRANSPORT_RESET = new Uint8Array(4);

const NO_HEADER = new Uint8Array(0);
const NO_PIECES = new Pieces(new Float64Array(0));

/** `connectionsLost`: the driver is to be informed that the other ends are gone. */
export const VirtioVsockState = layout("virtio-vsock", 1, { connectionsLost: "u8" });

export interface VsockConfig {
  /** The guest's address. */
  readonly cid: number;
}

/** What the io thread has and vCPU threads do not. */
export interface VsockIo {
  readonly memory: GuestMemory;
  /** Packets of one pair, each with its header as the first bytes. Undefined: the kernel serves the queues. */
  readonly backend: NetBackend | undefined;
}

export class VirtioVsock implements VirtioDevice {
  readonly deviceId = DEVICE_ID_SOCKET;
  readonly featuresLow = VSOCK_F_STREAM;
  readonly featuresHigh = 0;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly configSize = CONFIG_BYTES;
  readonly #cid: number;
  readonly #regs: ReturnType<typeof VirtioVsockState.view>;
  readonly #io: VsockIo | undefined;
  readonly #chain: Chain | undefined;
  /** A packet for the guest, its bytes, and how many of its data the guest has. */
  readonly #packet: Uint8Array;
  readonly #view: DataView;
  #length = 0;
  #done = 0;
  /** The other side does not know yet that the driver began anew. */
  #mustReset = false;

  constructor({ cid }: VsockConfig, regs: ReturnType<typeof VirtioVsockState.view>, io?: VsockIo) {
    this.#cid = cid;
    this.#regs = regs;
    this.#io = io;
    this.#chain = io && new Chain(io.memory, QUEUE_SIZE);
    this.#packet = new Uint8Array(io === undefined ? 0 : HEADER_BYTES + MAX_DATA_BYTES);
    this.#view = new DataView(this.#packet.buffer);
  }

  /** 5.10.4: guest_cid, of which the upper half is zero. */
  readConfig(offset: number): number {
    return offset < 4 ? (this.#cid >>> (8 * offset)) & 0xff : 0;
  }

  writeConfig(): void {}

  negotiate(): boolean {
    return true;
  }

  reset(): void {
    this.#regs.connectionsLost = 0;
  }

  activate(): void {}

  deactivate(): void {}

  leavesToKernel(index: number): boolean {
    return index !== EVENTS && this.#io !== undefined && this.#io.backend === undefined;
  }

  run(queue: DeviceQueue, index: number): number {
    const io = this.#io;
    const chain = this.#chain;
    if (io === undefined || chain === undefined) throw new Error("virtio-vsock: a request on a vCPU thread");
    if (index === EVENTS) return this.#sendEvent(queue, chain);
    const { backend } = io;
    // The kernel's queues wait while it may not serve them.
    if (backend === undefined) return NEVER;
    if (this.#mustReset && backend.send(0, RESET_RECORD, NO_PIECES) !== EAGAIN) this.#mustReset = false;
    if (this.#mustReset) return NEVER;
    return index === SEND ? send(queue, chain, backend) : this.#receive(queue, chain, io.memory, backend);
  }

  /** The driver took its queue away: it has no connections any more. */
  forget(index: number): void {
    const backend = this.#io?.backend;
    if (index !== RECEIVE || backend === undefined) return;
    this.#length = 0;
    while (backend.receive(0, this.#packet) !== EAGAIN) {
      // What is in the ring is for the driver from before.
    }
    this.#mustReset = backend.send(0, RESET_RECORD, NO_PIECES) === EAGAIN;
  }

  properties(): Readonly<Record<string, Property>> {
    const regs = this.#regs;
    return {
      connectionsLost: {
        get: () => regs.connectionsLost,
        set: (lost) => {
          regs.connectionsLost = lost === 0 ? 0 : 1;
        },
      },
    };
  }

  #sendEvent(queue: DeviceQueue, chain: Chain): number {
    if (this.#regs.connectionsLost === 0 || !queue.pop(chain)) return NEVER;
    this.#regs.connectionsLost = 0;
    queue.push(chain.head, chain.write(TRANSPORT_RESET));
    return NEVER;
  }

  #receive(queue: DeviceQueue, chain: Chain, memory: GuestMemory, backend: NetBackend): number {
    for (;;) {
      if (this.#length === 0) {
        const length = backend.receive(0, this.#packet);
        if (length < HEADER_BYTES) return NEVER;
        this.#length = length;
        this.#done = 0;
      }
      if (!queue.pop(chain)) return NEVER;
      if (chain.readableBytes > 0) throw new BrokenQueue("a buffer for a packet is not one to write");
      const left = this.#length - HEADER_BYTES - this.#done;
      const part = Math.min(left, chain.writableBytes - HEADER_BYTES);
      if (part < 0 || (part === 0 && left > 0)) throw new BrokenQueue("a buffer has no room for a packet");
      this.#view.setUint32(LENGTH, part, true);
      queue.push(chain.head, this.#fill(chain, memory, part));
      this.#done += part;
      if (part === left) this.#length = 0;
    }
  }

  /** Writes the header and the next `part` bytes of data. @returns their number */
  #fill({ iov, firstWritable, end }: Chain, memory: GuestMemory, part: number): number {
    const total = HEADER_BYTES + part;
    let at = 0;
    for (let index = firstWritable; index < end && at < total; index++) {
      const window = iov[2 * index];
      const length = Math.min(iov[2 * index + 1], total - at);
      const inHeader = Math.min(length, Math.max(0, HEADER_BYTES - at));
      if (inHeader > 0) memory.window(window, inHeader).set(this.#packet.subarray(at, at + inHeader));
      if (length > inHeader) {
        const from = at + inHeader + this.#done;
        memory
          .window(window + inHeader, length - inHeader)
          .set(this.#packet.subarray(from, from + length - inHeader));
      }
      at += length;
    }
    return total;
  }
}

/** Packets of the guest. */
function send(queue: DeviceQueue, chain: Chain, backend: NetBackend): number {
  while (queue.pop(chain)) {
    const bytes = chain.readableBytes;
    // One that is too long arrives without its data, which its header contradicts: that ends the connection.
    if (bytes > HEADER_BYTES + MAX_DATA_BYTES) chain.keepReadable(HEADER_BYTES);
    if (bytes >= HEADER_BYTES && backend.send(0, NO_HEADER, chain.readable) === EAGAIN) {
      queue.unpop(1);
      return NEVER;
    }
    queue.push(chain.head, 0);
  }
  return NEVER;
}
