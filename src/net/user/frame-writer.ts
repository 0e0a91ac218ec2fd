/**
 * Frames for the guest, made in one reused buffer.
 *
 * A transport writes its header and data at `payload` and calls `finishIp`; a datagram that is longer
 * than the MTU is sent in fragments (IPv4 only). Checksums are left to the guest where its driver accepts
 * that, which saves a pass over the data.
 */
import { ACCEPTS_CHECKSUM, GSO_TCP4, GSO_TCP6, type GuestLink, NO_OFFLOAD, type Offload } from "../link.ts";
import { copyBytes, put16 } from "./bytes.ts";
import { addWords, checksumOf, fold } from "./checksum.ts";
import { ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, ICMPV6, TCP, UDP } from "./packet.ts";

const TTL = 64;
const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
/** Ethernet, IPv6 and TCP headers with options, and the largest payload. */
const BUFFER_BYTES = ETHERNET_BYTES + 40 + 65_535;
const MIN_FRAME_BYTES = 60;

export class FrameWriter {
  readonly bytes = new Uint8Array(BUFFER_BYTES);
  readonly link: GuestLink;
  readonly offload: Offload = { ...NO_OFFLOAD };
  /** Where the payload of the IP packet begins, after `beginIp`. */
  payload = 0;
  #family: 4 | 6 = 4;
  #protocol = 0;
  #identification = 1;
  /** Views of `bytes` by their length: acknowledgements and full frames are of few lengths. */
  #views = new Map<number, Uint8Array>();

  constructor(link: GuestLink) {
    this.link = link;
  }

  /** The first `length` bytes of the buffer. */
  view(length: number): Uint8Array {
    const known = this.#views.get(length);
    if (known !== undefined) return known;
    if (this.#views.size >= MAX_VIEWS) this.#views.clear();
    const view = this.bytes.subarray(0, length);
    this.#views.set(length, view);
    return view;
  }

  /** Writes the Ethernet header. */
  beginFrame(to: Uint8Array, from: Uint8Array, etherType: number): void {
    copyBytes(to, 0, this.bytes, 0, 6);
    copyBytes(from, 0, this.bytes, 6, 6);
    put16(this.bytes, 12, etherType);
  }

  /** Sends `length` bytes of the buffer as they are, padded. */
  sendFrame(length: number): boolean {
    if (length < MIN_FRAME_BYTES) this.bytes.fill(0, length, MIN_FRAME_BYTES);
    return this.link.send(this.view(Math.max(length, MIN_FRAME_BYTES)));
  }

  /**
   * Writes the IP header of a packet from `source` to `destination`, whose lengths decide the version,
   * after `beginFrame`'s addresses. Lengths and checksums follow in `finishIp`.
   */
  beginIp(
    macTo: Uint8Array,
    macFrom: Uint8Array,
    source: Uint8Array,
    destination: Uint8Array,
    protocol: number,
    ttl = TTL,
  ): number {
    const { bytes } = this;
    const at = ETHERNET_BYTES;
    this.#protocol = protocol;
    if (source.length === 4) {
      this.#family = 4;
      this.beginFrame(macTo, macFrom, ETHERTYPE_IPV4);
      bytes[at] = 0x45;
      bytes[at + 1] = 0;
      bytes[at + 8] = ttl;
      bytes[at + 9] = protocol;
      copyBytes(source, 0, bytes, at + 12, 4);
      copyBytes(destination, 0, bytes, at + 16, 4);
      this.payload = at + 20;
    } else {
      this.#family = 6;
      this.beginFrame(macTo, macFrom, ETHERTYPE_IPV6);
      bytes[at] = 0x60;
      bytes[at + 1] = 0;
      bytes[at + 2] = 0;
      bytes[at + 3] = 0;
      bytes[at + 6] = protocol;
      bytes[at + 7] = ttl;
      copyBytes(source, 0, bytes, at + 8, 16);
      copyBytes(destination, 0, bytes, at + 24, 16);
      this.payload = at + 40;
    }
    return this.payload;
  }

  /** Completes lengths and checksums of a UDP, ICMP or other datagram that ends at `end`, and sends it. */
  finishIp(end: number): boolean {
    const { bytes, payload } = this;
    const checksumAt = checksumOffset(this.#protocol);
    if (this.#protocol === UDP) put16(bytes, payload + 4, end - payload);
    if (checksumAt >= 0) {
      put16(bytes, payload + checksumAt, 0);
      const pseudo = this.#protocol === ICMP ? 0 : this.pseudoSum(end - payload);
      const sum = checksumOf(addWords(bytes, payload, end, pseudo));
      // RFC 768: zero means "not computed".
      put16(bytes, payload + checksumAt, sum === 0 && this.#protocol === UDP ? 0xffff : sum);
    }
    const packetBytes = end - ETHERNET_BYTES;
    if (packetBytes <= this.link.mtu) {
      this.sealIp(end, DONT_FRAGMENT);
      return this.sendFrame(end);
    }
    return this.#family === 4 && this.#sendFragments(end);
  }

  /** The sum of the pseudo header for `transportBytes` of header and data. */
  pseudoSum(transportBytes: number): number {
    const addresses = this.payload - (this.#family === 4 ? 8 : 32);
    return addWords(this.bytes, addresses, this.payload, this.#protocol + transportBytes);
  }

  /** Completes the IP header of a packet that ends at `end`. */
  sealIp(end: number, fragment = DONT_FRAGMENT): void {
    const { bytes } = this;
    const at = ETHERNET_BYTES;
    if (this.#family === 6) {
      put16(bytes, at + 4, end - at - 40);
      return;
    }
    put16(bytes, at + 2, end - at);
    put16(bytes, at + 4, this.#identification);
    put16(bytes, at + 6, fragment);
    put16(bytes, at + 10, 0);
    put16(bytes, at + 10, checksumOf(addWords(bytes, at, at + 20, 0)));
    if ((fragment & MORE_FRAGMENTS) === 0) this.#identification = (this.#identification + 1) & 0xffff;
  }

  /**
   * Completes a TCP segment: header (at `payload`, `headerBytes` long) in the buffer, data in `body`.
   * `gsoSize` > 0: the guest's driver divides the segment.
   */
  finishTcp(headerBytes: number, body: Uint8Array | undefined, gsoSize: number): boolean {
    const { bytes, payload, link, offload } = this;
    const bodyBytes = body === undefined ? 0 : body.length;
    const end = payload + headerBytes;
    const checksumAt = payload + TCP_CHECKSUM;
    this.sealIp(end + bodyBytes);
    put16(bytes, checksumAt, 0);
    const pseudo = this.pseudoSum(headerBytes + bodyBytes);
    if (body === undefined || (link.accepts & ACCEPTS_CHECKSUM) === 0) {
      const sum = addWords(bytes, payload, end, pseudo);
      put16(bytes, checksumAt, checksumOf(body === undefined ? sum : addWords(body, 0, bodyBytes, sum)));
      if (body === undefined) return this.sendFrame(end);
      return link.send(this.view(end), body);
    }
    put16(bytes, checksumAt, fold(pseudo));
    offload.needsChecksum = 1;
    offload.checksumStart = payload;
    offload.checksumOffset = TCP_CHECKSUM;
    offload.gsoType = gsoSize === 0 ? 0 : this.#family === 4 ? GSO_TCP4 : GSO_TCP6;
    offload.gsoSize = gsoSize;
    offload.headerLength = end;
    return link.send(this.view(end), body, offload);
  }

  /** RFC 791, 3.2: the buffer's header serves each fragment; its data is moved behind it. */
  #sendFragments(end: number): boolean {
    const { bytes, payload } = this;
    const data = bytes.slice(payload, end);
    const most = (this.link.mtu - 20) & ~7;
    for (let offset = 0; offset < data.length; offset += most) {
      const part = data.subarray(offset, offset + most);
      bytes.set(part, payload);
      const isLast = offset + part.length === data.length;
      this.sealIp(payload + part.length, (isLast ? 0 : MORE_FRAGMENTS) | (offset >> 3));
      if (!this.sendFrame(payload + part.length)) return false;
    }
    return true;
  }
}

const MAX_VIEWS = 64;
const TCP_CHECKSUM = 16;

function checksumOffset(protocol: number): number {
  switch (protocol) {
    case UDP:
      return 6;
    case TCP:
      return TCP_CHECKSUM;
    case ICMP:
    case ICMPV6:
      return 2;
    default:
      return -1;
  }
}
