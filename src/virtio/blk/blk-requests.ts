/**
 * The requests of virtio-blk, from the chain that a driver offered to the status byte
 * that it waits for.
 *
 * The chain of a request is passed to the back end as it is, so that data moves
 * between the image and the guest's own pages.
 *
 * A driver's mistake (beyond the end, not whole sectors, a write to a read-only
 * disk) gets S_IOERR and is counted.
 *
 * Source: VIRTIO 1.2, 5.2.6 (Device Operation).
 */
import { EOPNOTSUPP } from "../../base/errno.ts";
import { SECTOR } from "../../base/units.ts";
import type { BlockBackend } from "../../disk/backend.ts";
import { DISK_ERRORS } from "../../disk/disk-counters.ts";
import { type ErrorPolicy, HostErrors } from "../../disk/host-errors.ts";
import type { Throttle } from "../../disk/throttle.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { ReportDevice } from "../device.ts";
import {
  DEFER,
  DISCARD,
  DiskRequests,
  READ,
  type RequestFormat,
  type ServedDisk,
  ZERO,
} from "../disk-requests.ts";
import type { Chain } from "../queue/chain.ts";
import type { DeferredHeads } from "../queue/deferred-heads.ts";

// 5.2.6, Device Operation.
const BLK_T_IN = 0;
const BLK_T_OUT = 1;
const BLK_T_FLUSH = 4;
const BLK_T_GET_ID = 8;
const BLK_T_DISCARD = 11;
const BLK_T_WRITE_ZEROES = 13;

const BLK_S_OK = 0;
const BLK_S_IOERR = 1;
const BLK_S_UNSUPP = 2;

const HEADER_BYTES = 16;
const SEGMENT_BYTES = 16; // struct virtio_blk_discard_write_zeroes
const SEGMENT_F_UNMAP = 1;

export const DISCARD_SEG_MAX = 32;
export const DISCARD_SECTORS_MAX = 2 ** 31 / SECTOR;
/** Where the host has to write the zeros, other requests wait for that: 16 MiB at a time. */
export const WRITE_ZEROES_SECTORS_MAX = 2 ** 24 / SECTOR;
/** Bytes of one read or write. More than seg_max and size_max allow together; firmware ignores those. */
const REQUEST_MAX = 2 ** 30;

/** What the io thread has and vCPU threads do not. */
export interface BlkIo {
  readonly name: string;
  readonly backend: BlockBackend;
  readonly memory: GuestMemory;
  readonly report: ReportDevice;
  /** See disk/disk-counters.ts. */
  readonly counters: Float64Array;
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
  readonly throttle: Throttle | undefined;
  /** A clock in ms, for the throttle. */
  readonly now: () => number;
}

/** What the side of the vCPU threads knows, and this one needs. */
export interface BlkFacts {
  /** Bytes, now. */
  readonly size: number;
  readonly readOnly: boolean;
  /** False: written data has to be on stable storage when the request completes. */
  readonly writeback: boolean;
  /** The answer to GET_ID: 20 bytes. */
  readonly id: Uint8Array;
}

export class BlkRequests implements RequestFormat {
  readonly requests: DiskRequests;
  readonly #facts: BlkFacts;
  readonly #memory: GuestMemory;
  readonly #counters: Float64Array;
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  /** By tag: RAM offset of the status byte. */
  readonly #status: Float64Array;
  /** Of the request that is served now: offset and length of each segment, in bytes. */
  readonly #segments = new Float64Array(2 * DISCARD_SEG_MAX);
  /** The storage of the last segment may be freed. */
  #mayUnmap = false;

  /** @param deferred one for each queue, of `queueSize` descriptors */
  constructor(facts: BlkFacts, io: BlkIo, deferred: readonly DeferredHeads[], queueSize: number) {
    const { memory, backend, counters, throttle, now } = io;
    const disk: ServedDisk = {
      ...{ backend, counters, throttle, errors: new HostErrors(io) },
      get writeback() {
        return facts.writeback;
      },
    };
    this.#facts = facts;
    this.#memory = memory;
    this.#counters = counters;
    this.requests = new DiskRequests([disk], this, memory, deferred, queueSize, now);
    this.#status = new Float64Array(this.requests.tags);
  }

  serve(tag: number, chain: Chain): number {
    chain.takeReadable(this.#headerBytes, "a request header");
    this.#status[tag] = chain.takeLastWritable("a status byte");
    const type = this.#header.getUint32(0, true);
    const sector = this.#header.getUint32(8, true) + this.#header.getUint32(12, true) * 2 ** 32;
    switch (type) {
      case BLK_T_IN:
        return this.#transfer(tag, chain, sector * SECTOR, false);
      case BLK_T_OUT:
        return this.#transfer(tag, chain, sector * SECTOR, true);
      case BLK_T_FLUSH:
        return this.requests.mayBegin(tag, true, 0) ? this.requests.flush(tag) : DEFER;
      case BLK_T_DISCARD:
      case BLK_T_WRITE_ZEROES:
        return this.#erase(tag, chain, type === BLK_T_DISCARD);
      case BLK_T_GET_ID:
        return this.#respond(tag, BLK_S_OK, chain.write(this.#facts.id));
      default:
        return this.#respond(tag, BLK_S_UNSUPP, 0);
    }
  }

  answer(tag: number, failure: number): number {
    const { operation, length } = this.requests;
    const done = operation[tag];
    if (failure === 0) return this.#respond(tag, BLK_S_OK, done === READ ? length[tag] : 0);
    const isErase = done === DISCARD || done === ZERO;
    return this.#respond(tag, failure === EOPNOTSUPP && isErase ? BLK_S_UNSUPP : BLK_S_IOERR, 0);
  }

  /** @param written bytes of data */
  #respond(tag: number, status: number, written: number): number {
    if (status !== BLK_S_OK) this.#counters[DISK_ERRORS]++;
    this.#memory.setUint8(this.#status[tag], status);
    return written + 1;
  }

  #transfer(tag: number, chain: Chain, offset: number, isWrite: boolean): number {
    const { requests } = this;
    const { size, readOnly, writeback } = this.#facts;
    const bytes = isWrite ? chain.readableBytes : chain.writableBytes;
    const isInside = bytes % SECTOR === 0 && bytes <= REQUEST_MAX && offset + bytes <= size;
    if (!isInside || (isWrite && readOnly)) return this.#respond(tag, BLK_S_IOERR, 0);
    if (!requests.mayBegin(tag, isWrite, bytes)) return DEFER;
    if (isWrite) return requests.write(tag, chain.readable, offset, bytes, !writeback);
    return requests.read(tag, chain.writable, offset, bytes);
  }

  /** Begins all segments of a discard or write-zeroes, unless one of them is invalid. */
  #erase(tag: number, chain: Chain, isDiscard: boolean): number {
    const { requests } = this;
    const bytes = chain.readableBytes;
    const count = bytes / SEGMENT_BYTES;
    const most = isDiscard ? DISCARD_SEG_MAX : 1;
    if (this.#facts.readOnly || !Number.isInteger(count) || count > most) {
      return this.#respond(tag, BLK_S_IOERR, 0);
    }
    this.#segments.fill(0, 0, 2);
    for (let i = 0; i < count; i++) {
      const mistake = this.#takeSegment(chain, isDiscard, i);
      if (mistake !== BLK_S_OK) return this.#respond(tag, mistake, 0);
    }
    if (!requests.mayBegin(tag, true, bytes)) return DEFER;
    if (isDiscard) return requests.discard(tag, this.#segments, count);
    return requests.zero(tag, this.#segments[0], this.#segments[1], this.#mayUnmap);
  }

  /** Reads segment `index` into `#segments`. Returns BLK_S_OK, or the status of the request. */
  #takeSegment(chain: Chain, isDiscard: boolean, index: number): number {
    // The header is no longer needed: its 16 bytes now contain a segment of 16 bytes.
    chain.takeReadable(this.#headerBytes, "a segment");
    const sector = this.#header.getUint32(0, true) + this.#header.getUint32(4, true) * 2 ** 32;
    const sectors = this.#header.getUint32(8, true);
    const flags = this.#header.getUint32(12, true);
    if ((flags & ~(isDiscard ? 0 : SEGMENT_F_UNMAP)) !== 0) return BLK_S_UNSUPP;
    if (sectors > (isDiscard ? DISCARD_SECTORS_MAX : WRITE_ZEROES_SECTORS_MAX)) return BLK_S_IOERR;
    if ((sector + sectors) * SECTOR > this.#facts.size) return BLK_S_IOERR;
    this.#segments[2 * index] = sector * SECTOR;
    this.#segments[2 * index + 1] = sectors * SECTOR;
    this.#mayUnmap = (flags & SEGMENT_F_UNMAP) !== 0;
    return BLK_S_OK;
  }
}
