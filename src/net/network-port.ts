/**
 * The program's end of a card: passes the frames of the guest to a network, and its
 * frames to the guest. A port is for one power cycle; the network stays.
 */
import { EventFd } from "../sys/event.ts";
import { emptyRing, FrameRing, type FrameRings } from "./frame-ring.ts";
import { ACCEPTS_CHECKSUM, type GuestLink, type Network, NO_OFFLOAD, type Offload } from "./link.ts";
import {
  ALL_OFFLOADS,
  HDR_F_DATA_VALID,
  HDR_F_NEEDS_CSUM,
  MAX_FRAME_BYTES,
  NET_HEADER_BYTES,
} from "./offloads.ts";

/** Frames in a row before timers and sockets have their turn. */
const BATCH = 128;

export class NetworkPort implements GuestLink {
  /** ACCEPTS_ bits: a network takes frames that leave checksums and segmentation to it. */
  static readonly offloads = ALL_OFFLOADS;
  readonly mtu: number;
  /** What the io thread gets. */
  readonly data: FrameRings;
  readonly #toNetwork: FrameRing;
  readonly #toGuest: FrameRing;
  readonly #accepts: Uint32Array;
  readonly #arrival = EventFd.create();
  readonly #vacancy = EventFd.create();
  /** A copy, as Node's functions do not all take shared memory. */
  readonly #frame = new Uint8Array(MAX_FRAME_BYTES);
  readonly #headerBytes = new Uint8Array(NET_HEADER_BYTES);
  readonly #header = new DataView(this.#headerBytes.buffer);
  readonly #offload = { ...NO_OFFLOAD };
  #network: Network | undefined;
  #isScheduled = false;
  #isClosed = false;
  #wantsRoom = false;
  #mustSignal = false;
  readonly #signal = () => {
    this.#mustSignal = false;
    if (!this.#isClosed) this.#arrival.signal();
  };

  constructor(mtu: number) {
    this.mtu = mtu;
    this.data = {
      toNetwork: emptyRing(),
      toGuest: emptyRing(),
      accepts: new SharedArrayBuffer(4),
      arrival: this.#arrival.token,
      vacancy: this.#vacancy.token,
    };
    this.#toNetwork = new FrameRing(this.data.toNetwork);
    this.#toGuest = new FrameRing(this.data.toGuest);
    this.#accepts = new Uint32Array(this.data.accepts);
  }

  get accepts(): number {
    return this.#accepts[0];
  }

  /** From here on `network` gets the guest's frames. */
  connect(network: Network): void {
    this.#network = network;
    this.wake();
  }

  send(head: Uint8Array, body?: Uint8Array, offload: Readonly<Offload> = NO_OFFLOAD): boolean {
    if (this.#isClosed) return true; // as on a cable that is not plugged in
    const frame = head.length + (body?.length ?? 0);
    if (frame > MAX_FRAME_BYTES) throw new RangeError(`a frame of ${frame} bytes`);
    const ring = this.#toGuest;
    const length = NET_HEADER_BYTES + frame;
    while (!ring.reserve(length)) {
      if (!ring.armForRoom(length)) continue;
      this.#wantsRoom = true;
      return false;
    }
    this.#putHeader(offload);
    ring.bytes.set(this.#headerBytes, ring.start);
    ring.bytes.set(head, ring.start + NET_HEADER_BYTES);
    if (body !== undefined) ring.bytes.set(body, ring.start + NET_HEADER_BYTES + head.length);
    if (ring.publish()) this.#signalSoon();
    return true;
  }

  /** The io thread has frames, or made room. */
  wake(): void {
    if (!this.#isScheduled) this.#serve();
  }

  close(): void {
    this.#isClosed = true;
    this.#arrival.close();
    this.#vacancy.close();
  }

  /** Once for all frames that the present callback sends: a wake-up costs more than a frame. */
  #signalSoon(): void {
    if (this.#mustSignal) return;
    this.#mustSignal = true;
    process.nextTick(this.#signal);
  }

  #serve(): void {
    this.#isScheduled = false;
    const network = this.#network;
    if (this.#isClosed || network === undefined) return;
    if (this.#wantsRoom && !this.#toGuest.armForRoom(NET_HEADER_BYTES + MAX_FRAME_BYTES)) {
      this.#wantsRoom = false;
      network.room?.();
    }
    const ring = this.#toNetwork;
    let count = 0;
    while (count < BATCH && ring.next()) {
      this.#pass(network, ring);
      count++;
    }
    if (count > 0) network.batchEnd?.();
    if (this.#isClosed) return;
    if (count < BATCH && ring.arm()) return;
    this.#isScheduled = true;
    setImmediate(() => this.#serve());
  }

  #pass(network: Network, ring: FrameRing): void {
    const { start, length } = ring;
    const size = length - NET_HEADER_BYTES;
    this.#headerBytes.set(ring.bytes.subarray(start, start + NET_HEADER_BYTES));
    this.#frame.set(ring.bytes.subarray(start + NET_HEADER_BYTES, start + length));
    if (ring.release()) this.#vacancy.signal();
    const header = this.#header;
    const offload = this.#offload;
    offload.needsChecksum = (header.getUint8(0) & HDR_F_NEEDS_CSUM) === 0 ? 0 : 1;
    offload.gsoType = header.getUint8(1);
    offload.headerLength = header.getUint16(2, true);
    offload.gsoSize = header.getUint16(4, true);
    offload.checksumStart = header.getUint16(6, true);
    offload.checksumOffset = header.getUint16(8, true);
    network.input(this.#frame.subarray(0, size), offload);
  }

  #putHeader(offload: Readonly<Offload>): void {
    const header = this.#header;
    // A complete frame was not on any wire: nothing can have damaged it.
    const valid = (this.accepts & ACCEPTS_CHECKSUM) === 0 ? 0 : HDR_F_DATA_VALID;
    header.setUint8(0, offload.needsChecksum === 1 ? HDR_F_NEEDS_CSUM : valid);
    header.setUint8(1, offload.gsoType);
    header.setUint16(2, offload.headerLength, true);
    header.setUint16(4, offload.gsoSize, true);
    header.setUint16(6, offload.checksumStart, true);
    header.setUint16(8, offload.checksumOffset, true);
  }
}
