/**
 * A SCSI disk with sectors of 512 bytes.
 *
 * Source: SBC-3 (T10/1799-D), 5.
 */
import { SECTOR } from "../base/units.ts";
import * as scsi from "./commands.ts";
import { FREE_MAX, FREE_RANGES_MAX, ZERO_MAX } from "./inquiry.ts";
import { NO_SUCH_PAGE, NOT_SAVED, putModePages, writeCacheOf } from "./mode-pages.ts";
import {
  type DataOut,
  FLUSH,
  FREE,
  GOOD,
  LogicalUnit,
  READ,
  type UnitFacts,
  type UnitRegisters,
  WRITE,
  ZERO,
} from "./unit.ts";

export interface DiskFacts extends UnitFacts {
  /** The driver may switch the write cache on and off. */
  readonly configWce: boolean;
}

/** Bytes of one transfer, as for virtio-blk. */
const TRANSFER_MAX = 2 ** 30;
const FORCE_UNIT_ACCESS = 0x08;
const PROTECTION = 0xe0;
const BYTE_CHECK = 0x06;
const WITHOUT_DATA = 0x01;
const UNMAPS = 0x08;
const ANCHORS = 0x10;
const UNMAP_HEADER = 8;
const UNMAP_RANGE = 16;
/** More than the pages that can be changed have. */
const MODE_BYTES = 64;

export class DiskUnit extends LogicalUnit {
  readonly #facts: DiskFacts;
  readonly #block = new Uint8Array(SECTOR);
  readonly #range = new Uint8Array(UNMAP_RANGE);

  constructor(facts: DiskFacts, regs: UnitRegisters) {
    super(facts, regs);
    this.#facts = facts;
  }

  /** The disk has another size, in bytes. */
  resize(bytes: number): void {
    this.regs.resized = bytes / SECTOR;
    this.regs.attention = scsi.CAPACITY_CHANGED;
  }

  protected override executeOwn(cdb: Uint8Array, data: DataOut): number {
    switch (cdb[0]) {
      case scsi.READ_6:
        return this.#transfer(READ, scsi.u24(cdb, 1) & 0x1f_ffff, cdb[4] === 0 ? 256 : cdb[4], 0);
      case scsi.WRITE_6:
        return this.#transfer(WRITE, scsi.u24(cdb, 1) & 0x1f_ffff, cdb[4] === 0 ? 256 : cdb[4], 0);
      case scsi.READ_10:
        return this.#transfer(READ, scsi.u32(cdb, 2), scsi.u16(cdb, 7), cdb[1]);
      case scsi.READ_12:
        return this.#transfer(READ, scsi.u32(cdb, 2), scsi.u32(cdb, 6), cdb[1]);
      case scsi.READ_16:
        return this.#transfer(READ, scsi.u64(cdb, 2), scsi.u32(cdb, 10), cdb[1]);
      case scsi.WRITE_10:
        return this.#transfer(WRITE, scsi.u32(cdb, 2), scsi.u16(cdb, 7), cdb[1]);
      case scsi.WRITE_12:
        return this.#transfer(WRITE, scsi.u32(cdb, 2), scsi.u32(cdb, 6), cdb[1]);
      case scsi.WRITE_16:
        return this.#transfer(WRITE, scsi.u64(cdb, 2), scsi.u32(cdb, 10), cdb[1]);
      // What is on stable storage is what was written.
      case scsi.WRITE_AND_VERIFY_10:
        return this.#writeAndVerify(cdb, scsi.u32(cdb, 2), scsi.u16(cdb, 7));
      case scsi.WRITE_AND_VERIFY_12:
        return this.#writeAndVerify(cdb, scsi.u32(cdb, 2), scsi.u32(cdb, 6));
      case scsi.WRITE_AND_VERIFY_16:
        return this.#writeAndVerify(cdb, scsi.u64(cdb, 2), scsi.u32(cdb, 10));
      case scsi.VERIFY_10:
        return this.#verify(cdb, scsi.u32(cdb, 2), scsi.u16(cdb, 7));
      case scsi.VERIFY_12:
        return this.#verify(cdb, scsi.u32(cdb, 2), scsi.u32(cdb, 6));
      case scsi.VERIFY_16:
        return this.#verify(cdb, scsi.u64(cdb, 2), scsi.u32(cdb, 10));
      case scsi.SEEK_6:
        return this.#place(scsi.u24(cdb, 1) & 0x1f_ffff, 0);
      case scsi.SEEK_10:
        return this.#place(scsi.u32(cdb, 2), 0);
      case scsi.SYNCHRONIZE_CACHE_10:
        return this.#flush(scsi.u32(cdb, 2), scsi.u16(cdb, 7));
      case scsi.SYNCHRONIZE_CACHE_16:
        return this.#flush(scsi.u64(cdb, 2), scsi.u32(cdb, 10));
      case scsi.READ_CAPACITY_10:
        return this.#capacity10(cdb);
      case scsi.SERVICE_ACTION_IN_16:
        return (cdb[1] & 0x1f) === scsi.READ_CAPACITY_16 ? this.#capacity16(cdb) : this.refuse();
      case scsi.MODE_SENSE_6:
        return this.#modeSense(cdb, cdb[4], false);
      case scsi.MODE_SENSE_10:
        return this.#modeSense(cdb, scsi.u16(cdb, 7), true);
      case scsi.MODE_SELECT_6:
        return this.#modeSelect(cdb, cdb[4], data, false);
      case scsi.MODE_SELECT_10:
        return this.#modeSelect(cdb, scsi.u16(cdb, 7), data, true);
      case scsi.UNMAP:
        return this.#unmap(cdb, data);
      case scsi.WRITE_SAME_10:
        return this.#writeSame(cdb, scsi.u32(cdb, 2), scsi.u16(cdb, 7), data, false);
      case scsi.WRITE_SAME_16:
        return this.#writeSame(cdb, scsi.u64(cdb, 2), scsi.u32(cdb, 10), data, (cdb[1] & WITHOUT_DATA) !== 0);
      case scsi.START_STOP_UNIT:
      case scsi.PREVENT_ALLOW:
      case scsi.RESERVE_6:
      case scsi.RELEASE_6:
        return GOOD;
      default:
        return this.refuse();
    }
  }

  #transfer(kind: typeof READ | typeof WRITE, lba: number, sectors: number, flags: number): number {
    if ((flags & PROTECTION) !== 0) return this.check(scsi.INVALID_FIELD);
    if (kind === WRITE && this.#facts.readOnly) return this.check(scsi.WRITE_PROTECTED);
    const place = this.#place(lba, sectors);
    if (place !== GOOD) return place;
    if (sectors === 0) return GOOD;
    if (this.bytes > TRANSFER_MAX) return this.check(scsi.INVALID_FIELD);
    this.isDurable = (flags & FORCE_UNIT_ACCESS) !== 0 || this.regs.writeCache === 0;
    return kind;
  }

  #writeAndVerify(cdb: Uint8Array, lba: number, sectors: number): number {
    if ((cdb[1] & BYTE_CHECK) > 2) return this.check(scsi.INVALID_FIELD);
    return this.#transfer(WRITE, lba, sectors, (cdb[1] & PROTECTION) | FORCE_UNIT_ACCESS);
  }

  /** Of data on storage that can be read nothing is wrong; to compare it with other data is not possible. */
  #verify(cdb: Uint8Array, lba: number, sectors: number): number {
    if ((cdb[1] & (PROTECTION | BYTE_CHECK)) !== 0) return this.check(scsi.INVALID_FIELD);
    return this.#place(lba, sectors);
  }

  #flush(lba: number, sectors: number): number {
    const place = this.#place(lba, sectors);
    return place === GOOD ? FLUSH : place;
  }

  #place(lba: number, sectors: number): number {
    if (lba + sectors > this.sectors) return this.check(scsi.OUT_OF_RANGE);
    this.offset = lba * SECTOR;
    this.bytes = sectors * SECTOR;
    return GOOD;
  }

  #capacity10(cdb: Uint8Array): number {
    if ((cdb[8] & 1) === 0 && scsi.u32(cdb, 2) !== 0) return this.check(scsi.INVALID_FIELD);
    scsi.put32(this.buffer, 0, Math.min(this.sectors - 1, 0xffff_ffff));
    scsi.put32(this.buffer, 4, SECTOR);
    return this.answer(8, 8);
  }

  #capacity16(cdb: Uint8Array): number {
    const { buffer } = this;
    const { blockSize, readOnly } = this.#facts;
    buffer.fill(0, 0, 32);
    scsi.put64(buffer, 0, this.sectors - 1);
    scsi.put32(buffer, 8, SECTOR);
    buffer[13] = Math.log2(blockSize / SECTOR); // sectors of a physical block, as a power of two
    buffer[14] = readOnly ? 0 : 0x80; // storage is allocated when it is written
    return this.answer(32, scsi.u32(cdb, 10));
  }

  #modeSense(cdb: Uint8Array, most: number, isLong: boolean): number {
    const { readOnly, configWce } = this.#facts;
    const writeCache = this.regs.writeCache !== 0;
    const modes = { sectors: this.sectors, readOnly, writeCache, mayChangeCache: configWce };
    const bytes = putModePages(this.buffer, cdb, modes, isLong);
    if (bytes === NOT_SAVED) return this.check(scsi.SAVING_NOT_SUPPORTED);
    return bytes === NO_SUCH_PAGE ? this.check(scsi.INVALID_FIELD) : this.answer(bytes, most);
  }

  #modeSelect(cdb: Uint8Array, length: number, data: DataOut, isLong: boolean): number {
    if ((cdb[1] & 1) !== 0) return this.check(scsi.INVALID_FIELD); // to save pages
    if (length > MODE_BYTES || length > data.readableBytes) return this.check(scsi.PARAMETER_LENGTH);
    const parameters = this.buffer.subarray(0, length);
    data.takeReadable(parameters, "mode pages");
    const wanted = writeCacheOf(parameters, isLong);
    if (wanted === null) return this.check(scsi.INVALID_PARAMETER);
    if (wanted === undefined || wanted === (this.regs.writeCache !== 0)) return GOOD;
    if (!this.#facts.configWce) return this.check(scsi.INVALID_PARAMETER);
    this.regs.writeCache = wanted ? 1 : 0;
    // What is in the cache has to be on stable storage once there is none.
    return wanted ? GOOD : FLUSH;
  }

  #unmap(cdb: Uint8Array, data: DataOut): number {
    const length = scsi.u16(cdb, 7);
    if ((cdb[1] & 1) !== 0) return this.check(scsi.INVALID_FIELD); // anchors
    if (this.#facts.readOnly) return this.check(scsi.WRITE_PROTECTED);
    if (length === 0) return GOOD;
    if (length < UNMAP_HEADER || length > data.readableBytes) return this.check(scsi.PARAMETER_LENGTH);
    const header = this.#range.subarray(0, UNMAP_HEADER);
    data.takeReadable(header, "a list of ranges");
    const ranges = scsi.u16(header, 2);
    if (ranges % UNMAP_RANGE !== 0 || UNMAP_HEADER + ranges > length) {
      return this.check(scsi.PARAMETER_LENGTH);
    }
    if (ranges > UNMAP_RANGE * FREE_RANGES_MAX) return this.check(scsi.INVALID_PARAMETER);
    this.rangeCount = 0;
    for (let at = 0; at < ranges; at += UNMAP_RANGE) {
      data.takeReadable(this.#range, "a range");
      const place = this.#place(scsi.u64(this.#range, 0), scsi.u32(this.#range, 8));
      if (place !== GOOD) return place;
      if (this.bytes > FREE_MAX) return this.check(scsi.INVALID_PARAMETER);
      if (this.bytes === 0) continue;
      this.ranges[2 * this.rangeCount] = this.offset;
      this.ranges[2 * this.rangeCount + 1] = this.bytes;
      this.rangeCount++;
    }
    return this.rangeCount === 0 ? GOOD : FREE;
  }

  /** Only of zeros. 0 sectors are all up to the end. */
  #writeSame(cdb: Uint8Array, lba: number, sectors: number, data: DataOut, isWithoutData: boolean): number {
    if ((cdb[1] & (PROTECTION | ANCHORS)) !== 0) return this.check(scsi.INVALID_FIELD);
    if (this.#facts.readOnly) return this.check(scsi.WRITE_PROTECTED);
    const place = this.#place(lba, sectors === 0 ? Math.max(0, this.sectors - lba) : sectors);
    if (place !== GOOD) return place;
    if (this.bytes > ZERO_MAX) return this.check(scsi.INVALID_FIELD);
    if (!isWithoutData) {
      if (data.readableBytes < SECTOR) return this.check(scsi.PARAMETER_LENGTH);
      data.takeReadable(this.#block, "a sector");
      if (this.#block.some((byte) => byte !== 0)) return this.check(scsi.INVALID_FIELD);
    }
    this.mayUnmap = (cdb[1] & UNMAPS) !== 0;
    return this.bytes === 0 ? GOOD : ZERO;
  }
}
