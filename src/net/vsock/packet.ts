/**
 * A vsock packet: a header, and the bytes of a stream. All numbers are little-endian.
 *
 * Source: VIRTIO 1.2, 5.10.6 (Device Operation): struct virtio_vsock_hdr.
 */

export const HEADER_BYTES = 44;
/** Bytes of data in one packet, as Linux has it. */
export const MAX_DATA_BYTES = 65_536;
/** A record that is not a packet: the guest's driver began anew. */
export const RESET_RECORD = new Uint8Array(1);

/** 5.10.4: the address of the host. */
export const HOST_CID = 2;
export const TYPE_STREAM = 1;

// Operations.
export const OP_REQUEST = 1;
export const OP_RESPONSE = 2;
export const OP_RST = 3;
export const OP_SHUTDOWN = 4;
export const OP_RW = 5;
export const OP_CREDIT_UPDATE = 6;
export const OP_CREDIT_REQUEST = 7;

// Flags of OP_SHUTDOWN.
export const SHUTDOWN_RECEIVE = 1;
export const SHUTDOWN_SEND = 2;

// Offsets in the header.
const SRC_CID = 0;
const DST_CID = 8;
const SRC_PORT = 16;
const DST_PORT = 20;
/** Of the data. */
export const LENGTH = 24;
const TYPE = 28;
const OP = 30;
const FLAGS = 32;
const BUF_ALLOC = 36;
const FWD_CNT = 40;

/** One header, reused. */
export class PacketHeader {
  readonly bytes = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.bytes.buffer);

  get srcCid(): number {
    return this.#cid(SRC_CID);
  }
  set srcCid(cid: number) {
    this.#setCid(SRC_CID, cid);
  }
  get dstCid(): number {
    return this.#cid(DST_CID);
  }
  set dstCid(cid: number) {
    this.#setCid(DST_CID, cid);
  }
  get srcPort(): number {
    return this.#view.getUint32(SRC_PORT, true);
  }
  set srcPort(port: number) {
    this.#view.setUint32(SRC_PORT, port, true);
  }
  get dstPort(): number {
    return this.#view.getUint32(DST_PORT, true);
  }
  set dstPort(port: number) {
    this.#view.setUint32(DST_PORT, port, true);
  }
  get length(): number {
    return this.#view.getUint32(LENGTH, true);
  }
  set length(bytes: number) {
    this.#view.setUint32(LENGTH, bytes, true);
  }
  get type(): number {
    return this.#view.getUint16(TYPE, true);
  }
  set type(type: number) {
    this.#view.setUint16(TYPE, type, true);
  }
  get op(): number {
    return this.#view.getUint16(OP, true);
  }
  set op(op: number) {
    this.#view.setUint16(OP, op, true);
  }
  get flags(): number {
    return this.#view.getUint32(FLAGS, true);
  }
  set flags(flags: number) {
    this.#view.setUint32(FLAGS, flags, true);
  }
  /** The sender's buffer for this stream, in bytes. */
  get bufAlloc(): number {
    return this.#view.getUint32(BUF_ALLOC, true);
  }
  set bufAlloc(bytes: number) {
    this.#view.setUint32(BUF_ALLOC, bytes, true);
  }
  /** What the sender has taken out of that buffer so far, modulo 2^32. */
  get fwdCnt(): number {
    return this.#view.getUint32(FWD_CNT, true);
  }
  set fwdCnt(bytes: number) {
    this.#view.setUint32(FWD_CNT, bytes, true);
  }

  /** Exact for each valid address; the upper half is reserved. */
  #cid(offset: number): number {
    return this.#view.getUint32(offset, true) + this.#view.getUint32(offset + 4, true) * 2 ** 32;
  }

  #setCid(offset: number, cid: number): void {
    this.#view.setUint32(offset, cid, true);
    this.#view.setUint32(offset + 4, 0, true);
  }
}
