/**
 * Reassembly of IPv4 fragments (RFC 791, 3.2), with limits: datagrams, bytes, time. Fragments that
 * overlap make the datagram void (as RFC 5722 says for IPv6): only an attacker sends them.
 */
import { areEqual } from "./bytes.ts";
import { ETHERNET_BYTES, type Packet } from "./packet.ts";

const MAX_DATAGRAMS = 16;
const MAX_DATAGRAM_BYTES = 65_535;
const MAX_PARTS = 64;
const LIFETIME_MS = 15_000;
const KEY_BYTES = 20;

interface Part {
  readonly start: number;
  readonly end: number;
}

interface Datagram {
  /** The frame's first bytes: Ethernet and IP header, whose addresses, protocol and identification name it. */
  readonly header: Uint8Array;
  readonly data: Uint8Array;
  readonly parts: Part[];
  readonly deadline: number;
  received: number;
  /** -1: the last fragment is missing. */
  length: number;
}

export class Fragments {
  #datagrams: Datagram[] = [];

  /** Adds a fragment. When it completes a datagram, `packet` becomes that datagram, and the result is true. */
  add(packet: Packet, now: number): boolean {
    this.#datagrams = this.#datagrams.filter(({ deadline }) => deadline > now);
    const { bytes, start, end, fragmentOffset, hasMoreFragments } = packet;
    const length = end - start;
    const partEnd = fragmentOffset + length;
    if (length === 0 || partEnd > MAX_DATAGRAM_BYTES || (hasMoreFragments && length % 8 !== 0)) return false;
    const datagram = this.#find(packet) ?? this.#begin(packet, now);
    const overlaps = datagram.parts.some((part) => fragmentOffset < part.end && part.start < partEnd);
    const isBeyondEnd = datagram.length >= 0 && (partEnd > datagram.length || !hasMoreFragments);
    if (overlaps || isBeyondEnd || datagram.parts.length === MAX_PARTS) {
      this.#drop(datagram);
      return false;
    }
    datagram.parts.push({ start: fragmentOffset, end: partEnd });
    datagram.received += length;
    datagram.data.set(bytes.subarray(start, end), fragmentOffset);
    if (!hasMoreFragments) datagram.length = partEnd;
    if (datagram.length < 0 || datagram.received < datagram.length) return false;
    this.#drop(datagram);
    // Parts do not overlap, so this many bytes are all of them, unless one lies beyond the end.
    if (datagram.parts.some((part) => part.end > datagram.length)) return false;
    complete(packet, datagram);
    return true;
  }

  clear(): void {
    this.#datagrams = [];
  }

  #find({ bytes, ipStart }: Packet): Datagram | undefined {
    return this.#datagrams.find(
      ({ header }) =>
        areEqual(header, ipStart + 4, bytes, ipStart + 4, 2) && // identification
        header[ipStart + 9] === bytes[ipStart + 9] && // protocol
        areEqual(header, ipStart + 12, bytes, ipStart + 12, 8), // addresses
    );
  }

  #begin({ bytes }: Packet, now: number): Datagram {
    if (this.#datagrams.length === MAX_DATAGRAMS) this.#datagrams.shift();
    const datagram: Datagram = {
      header: bytes.slice(0, ETHERNET_BYTES + KEY_BYTES),
      data: new Uint8Array(MAX_DATAGRAM_BYTES),
      parts: [],
      deadline: now + LIFETIME_MS,
      received: 0,
      length: -1,
    };
    this.#datagrams.push(datagram);
    return datagram;
  }

  #drop(datagram: Datagram): void {
    this.#datagrams = this.#datagrams.filter((each) => each !== datagram);
  }
}

function complete(packet: Packet, { header, data, length }: Datagram): void {
  const bytes = new Uint8Array(header.length + length);
  bytes.set(header);
  bytes.set(data.subarray(0, length), header.length);
  packet.bytes = bytes;
  packet.start = header.length;
  packet.end = bytes.length;
  packet.isFragment = false;
}
