/**
 * Where a card and a network meet: frames of the guest, and frames for it.
 *
 * A network runs on the main thread; the card's queues are served elsewhere, so a frame is valid
 * only during the call that passes it. The fields of an offload are those of struct virtio_net_hdr
 * (VIRTIO 1.2, 5.1.6).
 */
import type { Duplex } from "node:stream";
import type { NetworkObserver } from "./network-event.ts";
import type { HostForward, OpenForward } from "./user/forwards.ts";

/** What a frame leaves to its receiver. All zero: the frame is complete. */
export interface Offload {
  /**
   * 1: the checksum at `checksumStart` + `checksumOffset` contains only the sum of the pseudo header, and
   * has to be completed. In a frame of the guest: it is not verified.
   */
  needsChecksum: 0 | 1;
  checksumStart: number;
  checksumOffset: number;
  /** 0, or 1 (TCPv4), 4 (TCPv6), perhaps with 0x80 (ECN): one TCP segment that is longer than the MTU. */
  gsoType: number;
  /** Payload bytes of each segment that is made of this one. */
  gsoSize: number;
  /** Bytes of the Ethernet, IP and TCP headers. */
  headerLength: number;
}

/** Of a complete frame, which leaves nothing to its receiver. */
export const NO_OFFLOAD: Readonly<Offload> = {
  needsChecksum: 0,
  checksumStart: 0,
  checksumOffset: 0,
  gsoType: 0,
  gsoSize: 0,
  headerLength: 0,
};

// Offload.gsoType.
export const GSO_TCP4 = 1;
export const GSO_TCP6 = 4;
export const GSO_ECN = 0x80;

// Bits of GuestLink.accepts.
export const ACCEPTS_CHECKSUM = 1;
export const ACCEPTS_TSO4 = 2;
export const ACCEPTS_TSO6 = 4;

/** The guest's end, as a network sees it. */
export interface GuestLink {
  /**
   * A frame for the guest: `head` and `body` one after the other, without FCS, copied before the call returns.
   * False: there is no room now and the frame was not taken; `Network.room()` is called when there is.
   * `offload` may only ask for what `accepts` lists.
   */
  send(head: Uint8Array, body?: Uint8Array, offload?: Readonly<Offload>): boolean;
  /** What the guest's driver accepts now: bits ACCEPTS_*. */
  readonly accepts: number;
  /** Bytes of an IP packet that the card carries. */
  readonly mtu: number;
}

/** A network behind one card. */
export interface Network {
  /** A frame of the guest: any bytes, at most 65 550. It is dropped if it makes no sense. */
  input(frame: Uint8Array, offload: Readonly<Offload>): void;
  /** After each batch of frames: acknowledgements are sent here. */
  batchEnd?(): void;
  /** There is room again, after `send` returned false. */
  room(): void;
  /** The guest was reset: its connections end. */
  reset(): void;
  /** The machine is paused: nobody answers, which is not a reason to give up. */
  pause?(): void;
  resume?(): void;
  close(): void | Promise<void>;

  // Of a network with connections, such as the user network.
  /** From now on the observer is called for each decision; undefined ends that. */
  observe?(observer: NetworkObserver | undefined): void;
  /** Connects to a TCP port of the guest. @throws {Error} ECONNREFUSED */
  connect?(port: number, guestAddress?: string): Promise<Duplex>;
  /** Opens a port of the host that leads to the guest. */
  forward?(forward: HostForward): Promise<OpenForward>;
}
