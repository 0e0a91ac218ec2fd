/**
 * What the driver leaves to the card for one frame: checksums, and the division of a
 * long TCP segment. The back end does as much as it can, by the virtio-net header
 * before the frame; the rest is done here, or by FrameCompleter.
 *
 * Source: 317453, 3.3.6 (TCP/IP context descriptor), 3.4 and 3.5; offsets are those
 * of its fields.
 */
import {
  ACCEPTS_CHECKSUM,
  ACCEPTS_TSO4,
  ACCEPTS_TSO6,
  GSO_TCP4,
  GSO_TCP6,
  NO_OFFLOAD,
  type Offload,
} from "../net/link.ts";
import { HDR_F_NEEDS_CSUM, NET_HEADER_BYTES } from "../net/offloads.ts";
import { get16, put16 } from "../net/user/bytes.ts";
import { addWords, checksumOf, fold } from "../net/user/checksum.ts";

const TUCMD_TCP = 1;
const TUCMD_IPV4 = 2;
const LEAST_TCP_HEADER = 20;
/** Linux's TCP_MIN_SND_MSS. Less would only keep the io thread busy. */
const LEAST_MSS = 48;
const VLAN_BYTES = 4;
/** Where a VLAN tag is. */
const TYPE = 12;

export class FrameOffload {
  readonly offload: Offload = { ...NO_OFFLOAD };
  readonly #able: number;

  /** @param able ACCEPTS_ bits of the back end */
  constructor(able: number) {
    this.#able = able;
  }

  begin(): void {
    const { offload } = this;
    offload.needsChecksum = 0;
    offload.checksumStart = 0;
    offload.checksumOffset = 0;
    offload.gsoType = 0;
    offload.gsoSize = 0;
    offload.headerLength = 0;
  }

  /** A sum from `start` to `end` (exclusive) at `at`, as a context or a legacy descriptor asks for it. */
  insertSum(frame: Uint8Array, at: number, start: number, end: number): void {
    if (start >= end || end > frame.length || at + 2 > frame.length) return;
    put16(frame, at, checksumOf(addWords(frame, start, end, 0)));
  }

  /** IXSM. @param context four words of a context descriptor, from `at` on */
  insertIpSum(frame: Uint8Array, context: Uint32Array, at: number): void {
    const word = context[at];
    const last = word >>> 16;
    this.insertSum(frame, (word >>> 8) & 0xff, word & 0xff, last === 0 ? frame.length : last + 1);
  }

  /** TXSM: the back end inserts it, if it can. */
  insertTransportSum(frame: Uint8Array, context: Uint32Array, at: number): void {
    const word = context[at + 1];
    const start = word & 0xff;
    const field = (word >>> 8) & 0xff;
    const last = word >>> 16;
    const end = last === 0 ? frame.length : last + 1;
    const isUsual = end === frame.length && field >= start && field + 2 <= frame.length;
    if (!isUsual || (this.#able & ACCEPTS_CHECKSUM) === 0) {
      this.insertSum(frame, field, start, end);
      return;
    }
    this.#leaveSum(start, field);
  }

  /** TSE. False: it makes no sense, or is not TCP. */
  segment(frame: Uint8Array, context: Uint32Array, at: number): boolean {
    const ip = context[at] & 0xff;
    const transport = context[at + 1] & 0xff;
    const field = (context[at + 1] >>> 8) & 0xff;
    const command = context[at + 2] >>> 24;
    const headerLength = (context[at + 3] >>> 8) & 0xff;
    const mss = context[at + 3] >>> 16;
    const isIpv4 = (command & TUCMD_IPV4) !== 0;
    const ipBytes = isIpv4 ? 20 : 40;
    const { length } = frame;
    if ((command & TUCMD_TCP) === 0 || mss < LEAST_MSS || headerLength > length) return false;
    if (transport < ip + ipBytes || headerLength < transport + LEAST_TCP_HEADER) return false;
    if (field < transport || field + 2 > headerLength) return false;
    // The driver leaves the lengths to the card, as they differ from segment to segment.
    if (isIpv4) {
      put16(frame, ip + 2, length - ip);
      put16(frame, ip + 10, 0);
      put16(frame, ip + 10, checksumOf(addWords(frame, ip, transport, 0)));
    } else put16(frame, ip + 4, length - ip - ipBytes);
    put16(frame, field, fold(get16(frame, field) + length - transport));
    this.#leaveSum(transport, field);
    if (length - headerLength <= mss) return true;
    const { offload } = this;
    offload.gsoType = isIpv4 ? GSO_TCP4 : GSO_TCP6;
    offload.gsoSize = mss;
    offload.headerLength = headerLength;
    return true;
  }

  /** Inserts a VLAN tag into the frame behind `header`, of `length` bytes. @returns how long it is then */
  insertVlan(bytes: Uint8Array, start: number, length: number, type: number, tag: number): number {
    bytes.copyWithin(start + TYPE + VLAN_BYTES, start + TYPE, start + length);
    put16(bytes, start + TYPE, type);
    put16(bytes, start + TYPE + 2, tag);
    const { offload } = this;
    if (offload.needsChecksum !== 0) offload.checksumStart += VLAN_BYTES;
    if (offload.headerLength !== 0) offload.headerLength += VLAN_BYTES;
    return length + VLAN_BYTES;
  }

  /** Whether the back end takes the frame with this offload. */
  get isAccepted(): boolean {
    const { needsChecksum, gsoType } = this.offload;
    if (needsChecksum === 0) return true;
    const segmentation = gsoType === 0 ? 0 : gsoType === GSO_TCP4 ? ACCEPTS_TSO4 : ACCEPTS_TSO6;
    const needed = ACCEPTS_CHECKSUM | segmentation;
    return (this.#able & needed) === needed;
  }

  /** The virtio-net header for this offload (VIRTIO 1.2, 5.1.6), at the start of `bytes`. */
  putHeader(bytes: Uint8Array): void {
    const { offload } = this;
    bytes.fill(0, 0, NET_HEADER_BYTES);
    if (offload.needsChecksum === 0) return;
    bytes[0] = HDR_F_NEEDS_CSUM;
    bytes[1] = offload.gsoType;
    putLittle(bytes, 2, offload.headerLength);
    putLittle(bytes, 4, offload.gsoSize);
    putLittle(bytes, 6, offload.checksumStart);
    putLittle(bytes, 8, offload.checksumOffset);
  }

  #leaveSum(start: number, field: number): void {
    const { offload } = this;
    offload.needsChecksum = 1;
    offload.checksumStart = start;
    offload.checksumOffset = field - start;
  }
}

function putLittle(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}
