/**
 * The program's end of a vsock device: packets of the guest, and for it, in two rings.
 * A port is for one power cycle.
 */
import { EventFd } from "../../sys/event.ts";
import { emptyRing, FrameRing, type FrameRings } from "../frame-ring.ts";
import { HEADER_BYTES, MAX_DATA_BYTES } from "./packet.ts";

/** Packets in a row before timers and sockets have their turn. */
const BATCH = 128;

/** Who takes the guest's packets. */
export interface PacketSink {
  /** False while it has too much to answer: the guest waits. */
  readonly takes: boolean;
  /** Valid during the call only. */
  input(packet: Uint8Array): void;
  /** `send` returned false before, and there is room. */
  room(): void;
}

export class PacketPort {
  /** What the io thread gets. */
  readonly data: FrameRings;
  readonly #fromGuest: FrameRing;
  readonly #toGuest: FrameRing;
  readonly #arrival = EventFd.create();
  readonly #vacancy = EventFd.create();
  readonly #sink: PacketSink;
  /** A copy: streams get memory that no other thread writes. */
  readonly #packet = new Uint8Array(HEADER_BYTES + MAX_DATA_BYTES);
  #isScheduled = false;
  #isClosed = false;
  #wantsRoom = false;

  constructor(sink: PacketSink) {
    this.#sink = sink;
    this.data = {
      toNetwork: emptyRing(),
      toGuest: emptyRing(),
      accepts: new SharedArrayBuffer(4),
      arrival: this.#arrival.token,
      vacancy: this.#vacancy.token,
    };
    this.#fromGuest = new FrameRing(this.data.toNetwork);
    this.#toGuest = new FrameRing(this.data.toGuest);
    // From the first packet on the io thread wakes this one.
    this.#fromGuest.arm();
  }

  /** False if there is no room now: `PacketSink.room` follows. */
  send(header: Uint8Array, data?: Uint8Array): boolean {
    if (this.#isClosed) return true;
    const ring = this.#toGuest;
    const length = header.length + (data?.length ?? 0);
    while (!ring.reserve(length)) {
      if (!ring.armForRoom(length)) continue;
      this.#wantsRoom = true;
      return false;
    }
    ring.bytes.set(header, ring.start);
    if (data !== undefined) ring.bytes.set(data, ring.start + header.length);
    if (ring.publish()) this.#arrival.signal();
    return true;
  }

  /** The io thread has packets, or made room. Also to be called when the sink takes packets again. */
  wake(): void {
    if (!this.#isScheduled) this.#serve();
  }

  close(): void {
    this.#isClosed = true;
    this.#arrival.close();
    this.#vacancy.close();
  }

  #serve(): void {
    this.#isScheduled = false;
    if (this.#isClosed) return;
    if (this.#wantsRoom && !this.#toGuest.armForRoom(this.#packet.length)) {
      this.#wantsRoom = false;
      this.#sink.room();
    }
    const ring = this.#fromGuest;
    for (let count = 0; count < BATCH; count++) {
      if (!this.#sink.takes) return; // `wake` follows
      if (!ring.next()) {
        if (ring.arm()) return;
        continue;
      }
      const packet = this.#packet.subarray(0, ring.length);
      packet.set(ring.bytes.subarray(ring.start, ring.start + ring.length));
      if (ring.release()) this.#vacancy.signal();
      this.#sink.input(packet);
      if (this.#isClosed) return;
    }
    this.#isScheduled = true;
    setImmediate(() => this.#serve());
  }
}
