/**
 * A frame of the guest, taken apart. Every length and checksum is verified here and nowhere else:
 * who gets a packet may use its offsets without checks.
 *
 * Sources: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP), RFC 2018 (SACK).
 * IPv6 extension headers are skipped if they say nothing to a host (hop-by-hop, destination options);
 * IPv6 fragments are dropped.
 */
import { get16, get32 } from "./bytes.ts";
import { addWords, fold } from "./checksum.ts";

export const ETHERNET_BYTES = 14;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;

const HOP_BY_HOP = 0;
const DESTINATION_OPTIONS = 60;
const MAX_EXTENSION_HEADERS = 4;

const FLAG_MORE_FRAGMENTS = 0x2000;
const OFFSET_MASK = 0x1fff;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;
const OPTION_SACK_PERMITTED = 4;
const OPTION_SACK = 5;

/** RFC 7323, 2.3. */
const MAX_WINDOW_SCALE = 14;

export class Packet {
  /** The whole frame; valid only until the next one. */
  bytes: Uint8Array = new Uint8Array(0);
  etherType = 0;
  /** 0: not IP. */
  family: 0 | 4 | 6 = 0;
  /** Where the source address is; the destination follows it. */
  addresses = 0;
  addressBytes = 4;
  protocol = 0;
  /** From the transport header to the end of the datagram. */
  start = 0;
  end = 0;
  ipStart = 0;

  /** IPv4: this is a part of a datagram. `fragmentOffset` is in bytes. */
  isFragment = false;
  fragmentOffset = 0;
  hasMoreFragments = false;

  // TCP and UDP
  sourcePort = 0;
  destinationPort = 0;
  dataStart = 0;

  // TCP
  sequence = 0;
  acknowledgement = 0;
  flags = 0;
  window = 0;
  /** 0: the option is missing. */
  mss = 0;
  /** -1: the option is missing. */
  windowScale = -1;
  sackPermitted = false;
  /** Pairs of sequence numbers. */
  readonly sack = new Int32Array(8);
  sackCount = 0;

  get destination(): number {
    return this.addresses + this.addressBytes;
  }

  get dataBytes(): number {
    return this.end - this.dataStart;
  }

  /** False: the frame is to be dropped. With `isTrusted`, the transport's checksum is not complete, and not verified. */
  parse(frame: Uint8Array, isTrusted: boolean): boolean {
    this.bytes = frame;
    this.family = 0;
    this.protocol = 0;
    this.isFragment = false;
    if (frame.length < ETHERNET_BYTES) return false;
    this.etherType = get16(frame, 12);
    switch (this.etherType) {
      case ETHERTYPE_ARP:
        this.start = ETHERNET_BYTES;
        this.end = frame.length;
        return this.end - this.start >= 28;
      case ETHERTYPE_IPV4:
        return this.#parseIpv4() && (this.isFragment || this.parseTransport(isTrusted));
      case ETHERTYPE_IPV6:
        return this.#parseIpv6() && this.parseTransport(isTrusted);
      default:
        return false;
    }
  }

  /** The part behind the IP header; of a reassembled datagram it is called once more. */
  parseTransport(isTrusted: boolean): boolean {
    const { bytes, start, end } = this;
    const length = end - start;
    switch (this.protocol) {
      case TCP: {
        if (length < 20 || !(isTrusted || this.#isChecksumRight())) return false;
        const headerBytes = (bytes[start + 12] >> 4) * 4;
        if (headerBytes < 20 || headerBytes > length) return false;
        this.dataStart = start + headerBytes;
        return this.#parseTcp();
      }
      case UDP: {
        if (length < 8) return false;
        const udpBytes = get16(bytes, start + 4);
        if (udpBytes < 8 || udpBytes > length) return false;
        this.end = start + udpBytes;
        const isUnchecked = this.family === 4 && get16(bytes, start + 6) === 0;
        if (!isTrusted && !isUnchecked && !this.#isChecksumRight()) return false;
        this.#parsePorts();
        this.dataStart = start + 8;
        return this.sourcePort !== 0 && this.destinationPort !== 0;
      }
      case ICMP:
        this.dataStart = start + 8;
        return this.family === 4 && length >= 8 && fold(addWords(bytes, start, end, 0)) === 0xffff;
      case ICMPV6:
        this.dataStart = start + 8;
        return this.family === 6 && length >= 8 && this.#isChecksumRight();
      default:
        this.dataStart = start;
        return true;
    }
  }

  #parseIpv4(): boolean {
    const { bytes } = this;
    const at = ETHERNET_BYTES;
    if (bytes.length < at + 20 || bytes[at] >> 4 !== 4) return false;
    const headerBytes = (bytes[at] & 15) * 4;
    const totalBytes = get16(bytes, at + 2);
    if (headerBytes < 20 || totalBytes < headerBytes || at + totalBytes > bytes.length) return false;
    if (fold(addWords(bytes, at, at + headerBytes, 0)) !== 0xffff) return false;
    const fragment = get16(bytes, at + 6);
    this.family = 4;
    this.ipStart = at;
    this.addresses = at + 12;
    this.addressBytes = 4;
    this.protocol = bytes[at + 9];
    this.start = at + headerBytes;
    this.end = at + totalBytes;
    this.fragmentOffset = (fragment & OFFSET_MASK) * 8;
    this.hasMoreFragments = (fragment & FLAG_MORE_FRAGMENTS) !== 0;
    this.isFragment = this.fragmentOffset !== 0 || this.hasMoreFragments;
    // A sender is one host: neither multicast nor broadcast.
    return bytes[at + 12] < 224;
  }

  #parseIpv6(): boolean {
    const { bytes } = this;
    const at = ETHERNET_BYTES;
    if (bytes.length < at + 40 || bytes[at] >> 4 !== 6) return false;
    const end = at + 40 + get16(bytes, at + 4);
    if (end > bytes.length || bytes[at + 8] === 0xff) return false;
    let next = bytes[at + 6];
    let start = at + 40;
    for (let n = 0; next === HOP_BY_HOP || next === DESTINATION_OPTIONS; n++) {
      if (n === MAX_EXTENSION_HEADERS || start + 8 > end) return false;
      next = bytes[start];
      start += (bytes[start + 1] + 1) * 8;
      if (start > end) return false;
    }
    this.family = 6;
    this.ipStart = at;
    this.addresses = at + 8;
    this.addressBytes = 16;
    this.protocol = next;
    this.start = start;
    this.end = end;
    return true;
  }

  #isChecksumRight(): boolean {
    const { bytes, start, end, protocol } = this;
    const pseudo = addWords(
      bytes,
      this.addresses,
      this.addresses + 2 * this.addressBytes,
      protocol + end - start,
    );
    return fold(addWords(bytes, start, end, pseudo)) === 0xffff;
  }

  #parsePorts(): void {
    this.sourcePort = get16(this.bytes, this.start);
    this.destinationPort = get16(this.bytes, this.start + 2);
  }

  #parseTcp(): boolean {
    const { bytes, start } = this;
    this.#parsePorts();
    this.sequence = get32(bytes, start + 4);
    this.acknowledgement = get32(bytes, start + 8);
    this.flags = bytes[start + 13];
    this.window = get16(bytes, start + 14);
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = false;
    this.sackCount = 0;
    if (this.dataStart > start + 20) this.#parseTcpOptions();
    return this.sourcePort !== 0 && this.destinationPort !== 0;
  }

  /** An option with a wrong length ends the list, as in Linux. */
  #parseTcpOptions(): void {
    const { bytes, dataStart } = this;
    let at = this.start + 20;
    while (at < dataStart) {
      const kind = bytes[at];
      if (kind === OPTION_END) return;
      if (kind === OPTION_NOP) {
        at++;
        continue;
      }
      const length = at + 1 < dataStart ? bytes[at + 1] : 0;
      if (length < 2 || at + length > dataStart) return;
      if (kind === OPTION_MSS && length === 4) this.mss = get16(bytes, at + 2);
      else if (kind === OPTION_WINDOW_SCALE && length === 3) {
        this.windowScale = Math.min(bytes[at + 2], MAX_WINDOW_SCALE);
      } else if (kind === OPTION_SACK_PERMITTED && length === 2) this.sackPermitted = true;
      else if (kind === OPTION_SACK) this.#parseSack(at + 2, (length - 2) >> 3);
      at += length;
    }
  }

  #parseSack(at: number, blocks: number): void {
    this.sackCount = Math.min(blocks, this.sack.length / 2);
    for (let n = 0; n < 2 * this.sackCount; n++) this.sack[n] = get32(this.bytes, at + 4 * n);
  }
}
