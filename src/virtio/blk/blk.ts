/**
 * virtio-blk: a disk on one or more request queues. Here are its features and
 * its configuration, which vCPU threads serve. The io thread's side, which serves
 * requests, is in blk-requests.ts.
 *
 * Source: VIRTIO 1.2, 5.2 (Block Device).
 *
 * Not offered: GEOMETRY, LIFETIME, SECURE_ERASE, ZONED and the legacy SCSI and
 * BARRIER features; also F_ACCESS_PLATFORM, as addresses here are always
 * guest-physical.
 */

import { type Fields, type Layout, layout, type View } from "../../base/layout.ts";
import { SECTOR } from "../../base/units.ts";
import type { AccessSize } from "../../bus/io.ts";
import type { DeviceQueue, VirtioDevice } from "../device.ts";
import type { DiskRequests } from "../disk-requests.ts";
import { DeferredHeads, DeferredHeadsState } from "../queue/deferred-heads.ts";
import { DEVICE_ID_BLOCK } from "../spec.ts";
import {
  type BlkFacts,
  type BlkIo,
  BlkRequests,
  DISCARD_SECTORS_MAX,
  DISCARD_SEG_MAX,
  WRITE_ZEROES_SECTORS_MAX,
} from "./blk-requests.ts";

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

const ID_BYTES = 20;

export const QUEUE_SIZE = DeferredHeads.CAPACITY;
/** Header and status take a descriptor each. */
const NO_SEGMENTS = 2;
const SIZE_MAX = 65536;

/** 5.2.4, Device configuration layout, as far as the offered features need it. */
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
const CAPACITY = VirtioBlkConfig.offsets.capacityLow;
const WRITEBACK = VirtioBlkConfig.offsets.writeback;

export const VirtioBlkState = layout("virtio-blk", 2, {
  resizedLow: "u32", // sectors, once the disk was resized; 0 before
  resizedHigh: "u32",
  writeback: "u8", // 1: a write is stable after a FLUSH; 0: it is on stable storage when it completes
  configWce: "u8", // the driver may change writeback
});

/** All that a disk keeps in state blocks. */
export interface BlkState {
  readonly regs: ReturnType<typeof VirtioBlkState.view>;
  /** By queue; written by the io thread. */
  readonly deferred: readonly ReturnType<typeof DeferredHeadsState.view>[];
}

/** @param take makes a block of shared state, or finds it again in another thread */
export function blkState(
  queues: number,
  take: <const F extends Fields>(layout: Layout<F>) => View<F>,
): BlkState {
  return {
    regs: take(VirtioBlkState),
    deferred: Array.from({ length: queues }, () => take(DeferredHeadsState)),
  };
}

/** A disk as every thread knows it. */
export interface BlkDisk {
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** Bytes that the host's storage writes as a unit, a power of two from 512 on. */
  readonly blockSize: number;
  readonly readOnly: boolean;
  /** What GET_ID answers, at most 20 bytes of ASCII. */
  readonly serial: string;
  readonly queues: number;
  /** False: writeback starts as 0. */
  readonly writeCache: boolean;
  /** The driver may change writeback. Default: true. */
  readonly configWce?: boolean;
  /** Descriptors of each queue, a power of two up to QUEUE_SIZE, which is the default. */
  readonly queueSize?: number;
}

export class VirtioBlk implements VirtioDevice, BlkFacts {
  readonly deviceId = DEVICE_ID_BLOCK;
  readonly featuresLow: number;
  readonly featuresHigh = 0;
  readonly queueSizes: readonly number[];
  readonly configSize = VirtioBlkConfig.size;
  readonly #disk: BlkDisk;
  readonly #regs: ReturnType<typeof VirtioBlkState.view>;
  readonly #requests: DiskRequests | undefined;
  readonly #config = new DataView(new ArrayBuffer(VirtioBlkConfig.size));
  readonly id = new Uint8Array(ID_BYTES);

  constructor(disk: BlkDisk, { regs, deferred }: BlkState, io?: BlkIo) {
    this.#disk = disk;
    this.#regs = regs;
    this.queueSizes = new Array(disk.queues).fill(disk.queueSize ?? QUEUE_SIZE);
    this.featuresLow = BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY | BLK_F_FLUSH;
    if (disk.configWce !== false) this.featuresLow |= BLK_F_CONFIG_WCE;
    if (disk.queues > 1) this.featuresLow |= BLK_F_MQ;
    this.featuresLow |= disk.readOnly ? BLK_F_RO : BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
    for (let i = 0; i < Math.min(ID_BYTES, disk.serial.length); i++) this.id[i] = disk.serial.charCodeAt(i);
    this.#describe();
    if (io !== undefined) {
      const heads = deferred.map((state) => new DeferredHeads(state));
      this.#requests = new BlkRequests(this, io, heads, QUEUE_SIZE).requests;
    }
  }

  readConfig(offset: number): number {
    if (offset >= VirtioBlkConfig.size) return 0;
    const capacity = this.size / SECTOR;
    this.#config.setUint32(CAPACITY, capacity % 2 ** 32, true);
    this.#config.setUint32(CAPACITY + 4, Math.floor(capacity / 2 ** 32), true);
    this.#config.setUint8(WRITEBACK, this.#regs.writeback);
    return this.#config.getUint8(offset);
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

  deactivate(): void {}

  run(queue: DeviceQueue, index: number): number {
    return this.#ioSide.run(queue, index);
  }

  poll(queues: readonly DeviceQueue[]): void {
    this.#ioSide.poll(queues);
  }

  drain(queues: readonly DeviceQueue[]): void {
    this.#ioSide.drain(queues);
  }

  forget(index: number): void {
    this.#requests?.forget(index);
  }

  resume(): void {
    this.#ioSide.resume();
  }

  /** Bytes, now: the disk may have been resized. */
  get size(): number {
    const { resizedLow, resizedHigh } = this.#regs;
    const sectors = resizedHigh * 2 ** 32 + resizedLow;
    return sectors === 0 ? this.#disk.size : sectors * SECTOR;
  }

  /** The disk has another size, in bytes; the caller notifies the driver. */
  resize(bytes: number): void {
    const sectors = bytes / SECTOR;
    this.#regs.resizedLow = sectors % 2 ** 32;
    this.#regs.resizedHigh = Math.floor(sectors / 2 ** 32);
  }

  get readOnly(): boolean {
    return this.#disk.readOnly;
  }

  get writeback(): boolean {
    return this.#regs.writeback !== 0;
  }

  get #ioSide(): DiskRequests {
    if (this.#requests === undefined) throw new Error("virtio-blk: a request on a thread that has no disk");
    return this.#requests;
  }

  #describe(): void {
    const disk = this.#disk;
    const config = VirtioBlkConfig.view(this.#config.buffer, 0);
    const blockSectors = disk.blockSize / SECTOR;
    config.sizeMax = SIZE_MAX;
    config.segMax = Math.max(1, (disk.queueSize ?? QUEUE_SIZE) - NO_SEGMENTS);
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
