/** A vsock device between a driver's queues and the host's connections, all on one thread. */

import { RingBackend } from "../../src/net/ring-backend.ts";
import { PacketHeader } from "../../src/net/vsock/packet.ts";
import { VsockHost } from "../../src/net/vsock/vsock-host.ts";
import { VirtioVsock, VirtioVsockState } from "../../src/virtio/vsock/vsock.ts";
import { blank, DriverQueue, Plugged, RAM, TestMemory } from "./virtio-driver.ts";

export const CID = 7;
export const HEADER = 44;
const RX_BYTES = 4096;
const RX_BUFFERS = 16;
const RX = RAM + 0x1_0000;
const TX = RAM + 0x2_8000;
const EVENT = RAM + 0x2_7000;

export interface Packet {
  readonly op: number;
  readonly flags: number;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly bufAlloc: number;
  readonly fwdCnt: number;
  readonly data: Buffer;
}

export interface Sent {
  readonly op: number;
  readonly hostPort: number;
  readonly guestPort?: number;
  readonly flags?: number;
  readonly bufAlloc?: number;
  readonly fwdCnt?: number;
  readonly data?: Uint8Array;
  readonly type?: number;
  readonly srcCid?: number;
  readonly length?: number;
}

export class VsockRig {
  readonly memory = new TestMemory();
  readonly host = new VsockHost(CID);
  readonly port = this.host.plug();
  readonly regs = blank(VirtioVsockState);
  readonly device = new VirtioVsock({ cid: CID }, this.regs, {
    memory: this.memory,
    backend: new RingBackend(this.port.data, this.memory, () => this.port.wake()),
  });
  readonly plugged = new Plugged(this.device, this.memory);
  readonly #header = new PacketHeader();
  queues: DriverQueue[] = [];

  constructor() {
    this.bringUp();
  }

  bringUp(): void {
    this.plugged.negotiate();
    const rings = this.memory.at(RAM);
    new Uint8Array(rings.buffer, rings.byteOffset, 0x3000).fill(0);
    this.queues = [0, 1, 2].map((n) => new DriverQueue(this.memory, 16, RAM + n * 0x1000));
    for (const [n, queue] of this.queues.entries()) this.plugged.setQueue(n, queue);
    this.plugged.driverOk();
    this.queues[2].add([{ address: EVENT, length: 8, writable: true }]);
    for (let n = 0; n < RX_BUFFERS; n++) this.#offer(n);
  }

  /** A packet of the guest; a header that lies where `length` and the others say so. */
  send({ op, hostPort, data = new Uint8Array(0), ...more }: Sent): void {
    const header = this.#header;
    const { guestPort = 5000, flags = 0, bufAlloc = 1 << 18, fwdCnt = 0, type = 1, srcCid = CID } = more;
    Object.assign(header, { srcCid, dstCid: 2, srcPort: guestPort, dstPort: hostPort, type, op, flags });
    Object.assign(header, { bufAlloc, fwdCnt, length: more.length ?? data.length });
    const bytes = new Uint8Array(this.memory.at(TX).buffer, this.memory.at(TX).byteOffset);
    bytes.set(header.bytes);
    bytes.set(data, HEADER);
    const [, tx] = this.queues;
    tx.add([
      { address: TX, length: HEADER },
      ...(data.length === 0 ? [] : [{ address: TX + HEADER, length: data.length }]),
    ]);
    this.plugged.runner.serve(1);
    tx.used();
  }

  /** The packets that the guest has got since the last call; it has all buffers ready again. */
  received(): Packet[] {
    const packets: Packet[] = [];
    for (;;) {
      this.plugged.runner.serve(0);
      const used = this.queues[0].used();
      if (used.length === 0) return packets;
      for (const { id, length } of used) {
        const at = this.memory.at(RX + id * RX_BYTES);
        const bytes = Buffer.from(new Uint8Array(at.buffer, at.byteOffset, length));
        const header = this.#header;
        header.bytes.set(bytes.subarray(0, HEADER));
        const { op, flags, srcPort: hostPort, dstPort: guestPort, bufAlloc, fwdCnt } = header;
        const data = bytes.subarray(HEADER);
        if (header.length !== data.length) throw new Error("the length of a packet is not that of its data");
        packets.push({ op, flags, hostPort, guestPort, bufAlloc, fwdCnt, data });
        this.#offer(id);
      }
    }
  }

  /** Events that the driver has got. */
  events(): number {
    this.plugged.runner.serve(2);
    return this.queues[2].used().length;
  }

  /** Buffer n is at descriptor n. */
  #offer(n: number): void {
    const [rx] = this.queues;
    rx.describe(n, { address: RX + n * RX_BYTES, length: RX_BYTES, flags: 2 });
    rx.offer(n);
  }

  close(): void {
    this.host.close();
    this.port.close();
  }
}
