/**
 * virtio-blk: a disk on one or more request queues.
 *
 * The chain of a request is passed to the back end as it is, so that data moves
 * between the image and the guest's own pages. Requests are served one after
 * the other and completed in the order in which they were offered.
 *
 * A driver's mistake (beyond the end, not whole sectors, a write to a read-only
 * disk) gets S_IOERR and is counted; an error of the host gets S_IOERR and is
 * reported too, the 1st, 2nd, 4th, 8th … so that a dying disk cannot flood.
 *
 * Source: VIRTIO 1.2, 5.2 (Block Device).
 *
 * Not offered: GEOMETRY, LIFETIME, SECURE_ERASE, ZONED and the legacy SCSI and
 * BARRIER features; also F_ACCESS_PLATFORM, as addresses here are always
 * guest-physical.
 */
import { layout } from "../base/layout.ts";
import { type BlockBackend, EOPNOTSUPP, hostError } from "../block/backend.ts";
import type { AccessSize } from "../bus/io.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import type { Chain } from "./chain.ts";
import type { ReportDevice, VirtioDevice } from "./device.ts";
import { DEVICE_ID_BLOCK } from "./spec.ts";

// 5.2.3, Feature bits.
const BLK_F_SIZE_MAX = 1 << 1;
const BLK_F_SEG_MAX = 1 << 2;
const BLK_F_RO = 1 << 5;
const BLK_F_BLK_SIZE = 1 << 6;
const BLK_F_FLUSH = 1 << 9;
const BLK_F_TOPOLOGY = 1 << 10;
const BLK_F_CONFIG_WCE = 1 << 11;
const BLK_F_MQ = 1 << 12;
const BLK_F_DISCARD = 1 << 13;
const BLK_F_WRITE_ZEROES = 1 << 14;

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

const SECTOR = 512;
const HEADER_BYTES = 16;
const SEGMENT_BYTES = 16; // struct virtio_blk_discard_write_zeroes
const SEGMENT_F_UNMAP = 1;
const ID_BYTES = 20;

const QUEUE_SIZE = 256;
const SEG_MAX = QUEUE_SIZE - 2; // header and status take a descriptor each
const SIZE_MAX = 65536;
const DISCARD_SEG_MAX = 32;
const DISCARD_SECTORS_MAX = 2 ** 31 / SECTOR;
/** A host that has to write the zeros does so while others wait: 16 MiB at a time. */
const WRITE_ZEROES_SECTORS_MAX = 2 ** 24 / SECTOR;
/** Bytes of one read or write. More than SEG_MAX segments of SIZE_MAX; firmware ignores both limits. */
const REQUEST_MAX = 2 ** 30;

/** 5.2.4, Device configuration layout, as far as features offered here reach. */
const VirtioBlkConfig = layout("virtio_blk_config", 1, {
  capacityLow: "u32", // sectors
  capacityHigh: "u32",
  sizeMax: "u32", // bytes
  segMax: "u32",
  cylinders: "u16",
  heads: "u8",
  sectors: "u8",
  blkSize: "u32", // bytes
  physicalBlockExp: "u8",
  alignmentOffset: "u8",
  minIoSize: "u16", // blocks
  optIoSize: "u32",
  writeback: "u8",
  unused0: "u8",
  numQueues: "u16",
  maxDiscardSectors: "u32",
  maxDiscardSeg: "u32",
  discardSectorAlignment: "u32", // sectors
  maxWriteZeroesSectors: "u32",
  maxWriteZeroesSeg: "u32",
  writeZeroesMayUnmap: "u8",
});
const WRITEBACK = VirtioBlkConfig.offsets.writeback;

export const VirtioBlkState = layout("virtio-blk", 1, {
  writeback: "u8", // 1: a write may wait for a FLUSH; 0: it is on stable storage when it completes
  configWce: "u8", // the driver may change writeback
});

/** A disk as every thread knows it. */
export interface BlkDisk {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** Bytes that the host's storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
  readonly readOnly: boolean;
  /** What GET_ID answers, at most 20 bytes of ASCII. */
  readonly serial: string;
  readonly queues: number;
  /** False: writeback starts as 0. */
  readonly writeCache: boolean;
}

/** What the io thread has and vCPU threads do not. */
export interface BlkHost {
  readonly name: string;
  readonly backend: BlockBackend;
  readonly memory: GuestMemory;
  readonly report: ReportDevice;
  /** BLK_COUNTERS numbers, counted up: see the indices below. */
  readonly counters: Float64Array;
}

export const BLK_REQUESTS = 0;
export const BLK_BYTES_READ = 1;
export const BLK_BYTES_WRITTEN = 2;
export const BLK_FLUSHES = 3;
export const BLK_ERRORS = 4;
export const BLK_COUNTERS = 5;

export class VirtioBlk implements VirtioDevice {
  readonly deviceId = DEVICE_ID_BLOCK;
  readonly featuresLow: number;
  readonly featuresHigh = 0;
  readonly queueSizes: readonly number[];
  readonly #disk: BlkDisk;
  readonly #regs: ReturnType<typeof VirtioBlkState.view>;
  readonly #host: BlkHost | undefined;
  readonly #config = new DataView(new ArrayBuffer(VirtioBlkConfig.size));
  readonly #id = new Uint8Array(ID_BYTES);
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  readonly #headerBytes = new Uint8Array(this.#header.buffer);
  #hostErrors = 0;

  constructor(disk: BlkDisk, regs: ReturnType<typeof VirtioBlkState.view>, host?: BlkHost) {
    this.#disk = disk;
    this.#regs = regs;
    this.#host = host;
    this.queueSizes = new Array(disk.queues).fill(QUEUE_SIZE);
    this.featuresLow =
      BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY | BLK_F_FLUSH | BLK_F_CONFIG_WCE;
    if (disk.queues > 1) this.featuresLow |= BLK_F_MQ;
    this.featuresLow |= disk.readOnly ? BLK_F_RO : BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
    for (let i = 0; i < Math.min(ID_BYTES, disk.serial.length); i++) this.#id[i] = disk.serial.charCodeAt(i);
    this.#describe();
  }

  readConfig(offset: number, size: AccessSize): number {
    if (offset + size > VirtioBlkConfig.size) return 0;
    this.#config.setUint8(WRITEBACK, this.#regs.writeback);
    if (size === 4) return this.#config.getUint32(offset, true);
    return size === 2 ? this.#config.getUint16(offset, true) : this.#config.getUint8(offset);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    if (offset === WRITEBACK && size === 1 && this.#regs.configWce !== 0) {
      this.#regs.writeback = value === 0 ? 0 : 1;
    }
  }

  negotiate(featuresLow: number, _featuresHigh: number): boolean {
    // 5.2.6.2: without FLUSH a write has to be stable when it completes.
    const flush = (featuresLow & BLK_F_FLUSH) !== 0;
    this.#regs.writeback = flush && this.#disk.writeCache ? 1 : 0;
    this.#regs.configWce = (featuresLow & BLK_F_CONFIG_WCE) !== 0 ? 1 : 0;
    return true;
  }

  reset(): void {
    this.#regs.writeback = 0;
    this.#regs.configWce = 0;
  }

  activate(): void {}

  deactivate(): void {} // a request is over when `serve` returns

  serve(_queue: number, chain: Chain): number {
    const host = this.#io();
    chain.takeReadable(this.#headerBytes, "a request header");
    const status = chain.takeLastWritable("a status byte");
    const type = this.#header.getUint32(0, true);
    const sector = this.#header.getUint32(8, true) + this.#header.getUint32(12, true) * 2 ** 32;
    let written = 0;
    let answer = BLK_S_OK;
    host.counters[BLK_REQUESTS]++;
    switch (type) {
      case BLK_T_IN: {
        const length = chain.writableBytes;
        answer = this.#read(chain, sector);
        if (answer === BLK_S_OK) written = length;
        break;
      }
      case BLK_T_OUT:
        answer = this.#write(chain, sector);
        break;
      case BLK_T_FLUSH:
        host.counters[BLK_FLUSHES]++;
        answer = this.#outcome(host.backend.flush(), "flushing", 0, 0);
        break;
      case BLK_T_GET_ID:
        written = chain.write(this.#id);
        break;
      case BLK_T_DISCARD:
      case BLK_T_WRITE_ZEROES:
        answer = this.#eraseSegments(chain, type);
        break;
      default:
        answer = BLK_S_UNSUPP;
    }
    if (answer !== BLK_S_OK) host.counters[BLK_ERRORS]++;
    host.memory.setUint8(status, answer);
    return written + 1;
  }

  #read(chain: Chain, sector: number): number {
    const { backend, counters } = this.#io();
    const length = chain.writableBytes;
    const offset = sector * SECTOR;
    if (!this.#isTransfer(offset, length)) return BLK_S_IOERR;
    if (length === 0) return BLK_S_OK;
    const result = backend.readv(chain.iov, chain.firstWritable, chain.end - chain.firstWritable, offset);
    if (result >= 0) counters[BLK_BYTES_READ] += length;
    return this.#outcome(result, "reading", offset, length);
  }

  #write(chain: Chain, sector: number): number {
    const { backend, counters } = this.#io();
    const length = chain.readableBytes;
    const offset = sector * SECTOR;
    if (this.#disk.readOnly || !this.#isTransfer(offset, length)) return BLK_S_IOERR;
    if (length === 0) return BLK_S_OK;
    const dsync = this.#regs.writeback === 0;
    const count = chain.firstWritable - chain.first;
    const result = backend.writev(chain.iov, chain.first, count, offset, dsync);
    if (result >= 0) counters[BLK_BYTES_WRITTEN] += length;
    return this.#outcome(result, "writing", offset, length);
  }

  #eraseSegments(chain: Chain, type: number): number {
    const segments = chain.readableBytes / SEGMENT_BYTES;
    const most = type === BLK_T_DISCARD ? DISCARD_SEG_MAX : 1;
    if (this.#disk.readOnly || !Number.isInteger(segments) || segments > most) return BLK_S_IOERR;
    for (let i = 0; i < segments; i++) {
      // The header is done with: its 16 bytes hold a segment of 16 bytes now.
      chain.takeReadable(this.#headerBytes, "a segment");
      const sector = this.#header.getUint32(0, true) + this.#header.getUint32(4, true) * 2 ** 32;
      const sectors = this.#header.getUint32(8, true);
      const flags = this.#header.getUint32(12, true);
      const answer = this.#erase(type, sector * SECTOR, sectors, flags);
      if (answer !== BLK_S_OK) return answer;
    }
    if (this.#regs.writeback !== 0) return BLK_S_OK;
    return this.#outcome(this.#io().backend.flush(), "flushing", 0, 0);
  }

  #erase(type: number, offset: number, sectors: number, flags: number): number {
    const { backend } = this.#io();
    const isDiscard = type === BLK_T_DISCARD;
    const length = sectors * SECTOR;
    if ((flags & ~(isDiscard ? 0 : SEGMENT_F_UNMAP)) !== 0) return BLK_S_UNSUPP;
    if (sectors > (isDiscard ? DISCARD_SECTORS_MAX : WRITE_ZEROES_SECTORS_MAX)) return BLK_S_IOERR;
    if (offset + length > this.#disk.size) return BLK_S_IOERR;
    if (length === 0) return BLK_S_OK;
    const mayUnmap = (flags & SEGMENT_F_UNMAP) !== 0;
    const result = isDiscard
      ? backend.discard(offset, length)
      : backend.writeZeroes(offset, length, mayUnmap);
    if (result === EOPNOTSUPP) return BLK_S_UNSUPP;
    return this.#outcome(result, isDiscard ? "discarding" : "zeroing", offset, length);
  }

  #isTransfer(offset: number, length: number): boolean {
    return length % SECTOR === 0 && length <= REQUEST_MAX && offset + length <= this.#disk.size;
  }

  /** The status for a result of the back end. */
  #outcome(result: number, doing: string, offset: number, length: number): number {
    if (result >= 0) return BLK_S_OK;
    const count = ++this.#hostErrors;
    if ((count & (count - 1)) === 0) {
      const { name, report } = this.#io();
      const where = length === 0 ? "" : ` ${length} bytes at ${offset}`;
      const before = count === 1 ? "" : ` (${count} such errors so far)`;
      report({
        device: name,
        code: "EIO",
        message: `${doing}${where} failed: ${hostError(result)}. The guest sees an I/O error${before}.`,
      });
    }
    return BLK_S_IOERR;
  }

  #io(): BlkHost {
    if (this.#host === undefined) throw new Error("virtio-blk: a request on a thread that has no disk");
    return this.#host;
  }

  #describe(): void {
    const disk = this.#disk;
    const config = VirtioBlkConfig.view(this.#config.buffer, 0);
    const capacity = disk.size / SECTOR;
    const blockSectors = disk.blockSize / SECTOR;
    config.capacityLow = capacity % 2 ** 32;
    config.capacityHigh = Math.floor(capacity / 2 ** 32);
    config.sizeMax = SIZE_MAX;
    config.segMax = SEG_MAX;
    config.blkSize = SECTOR;
    config.physicalBlockExp = Math.log2(blockSectors);
    config.minIoSize = blockSectors;
    config.numQueues = disk.queues;
    if (!disk.readOnly) {
      config.maxDiscardSectors = DISCARD_SECTORS_MAX;
      config.maxDiscardSeg = DISCARD_SEG_MAX;
      config.discardSectorAlignment = blockSectors;
      config.maxWriteZeroesSectors = WRITE_ZEROES_SECTORS_MAX;
      config.maxWriteZeroesSeg = 1;
      config.writeZeroesMayUnmap = 1;
    }
  }
}
