/**
 * A card's end of a tap interface: each frame is one system call, from and to the
 * guest's own pages where that is possible. On the io thread.
 *
 * Source: Documentation/networking/tuntap.rst. The interface has virtio-net headers
 * of NET_HEADER_BYTES, or none (`vnet_hdr=off`).
 */
import type { Pieces } from "../base/pieces.ts";
import { FrameDescriptor } from "../sys/frame-descriptor.ts";
import type { GuestRam } from "../sys/guest-ram.ts";
import type { NetBackend } from "./backend.ts";
import { NET_HEADER_BYTES } from "./offloads.ts";

/** A tap interface that the program's thread has opened, as it is sent to the io thread. */
export interface TapData {
  /** By queue pair. */
  readonly tokens: readonly number[];
  readonly hasHeader: boolean;
  /** The same of /dev/vhost-net; none: frames are moved in user space. */
  readonly vhostTokens: readonly number[];
}

const NO_HEADER = new Uint8Array(0);

export class TapBackend implements NetBackend {
  readonly arrivals: readonly FrameDescriptor[];
  readonly #ram: GuestRam;
  readonly #hasHeader: boolean;
  #used = 0;

  constructor({ tokens, hasHeader }: Pick<TapData, "tokens" | "hasHeader">, ram: GuestRam) {
    this.arrivals = tokens.map((token) => FrameDescriptor.attach(token));
    this.#used = tokens.length;
    this.#ram = ram;
    this.#hasHeader = hasHeader;
  }

  send(pair: number, header: Uint8Array, frame: Pieces): number {
    return this.arrivals[pair].send(this.#hasHeader ? header : withoutHeader(header), this.#ram, frame);
  }

  receive(pair: number, into: Uint8Array): number {
    if (this.#hasHeader) return this.arrivals[pair].receive(into);
    const length = this.arrivals[pair].receive(into.subarray(NET_HEADER_BYTES));
    if (length < 0) return length;
    into.fill(0, 0, NET_HEADER_BYTES);
    return length + NET_HEADER_BYTES;
  }

  /** The bits are those of TUNSETOFFLOAD. */
  accept(offloads: number): void {
    if (this.#hasHeader) this.arrivals[0].setOffload(offloads);
  }

  /** A queue that the driver does not use would swallow its share of the frames. */
  usePairs(pairs: number): void {
    if (this.arrivals.length === 1) return;
    for (let n = 0; n < this.arrivals.length; n++) {
      const wasUsed = n < this.#used;
      if (n < pairs !== wasUsed) this.arrivals[n].setQueue(n < pairs);
    }
    this.#used = pairs;
  }

  close(): void {
    for (const tap of this.arrivals) tap.close();
  }
}

function withoutHeader(header: Uint8Array): Uint8Array {
  return header.length === NET_HEADER_BYTES ? NO_HEADER : header.subarray(NET_HEADER_BYTES);
}
