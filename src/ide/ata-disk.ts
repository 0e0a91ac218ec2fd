/**
 * An ATA disk.
 *
 * Source: ATA/ATAPI-7 (T13/1532D volume 1), section 6. Commands that are optional and
 * absent here are aborted, and IDENTIFY DEVICE does not offer them: security, set max,
 * host protected area, power management by timers, queued commands.
 */
import { SECTOR } from "../base/units.ts";
import {
  CMD_CHECK_POWER,
  CMD_FLUSH,
  CMD_FLUSH_EXT,
  CMD_IDENTIFY,
  CMD_IDLE,
  CMD_IDLE_IMMEDIATE,
  CMD_INITIALIZE_PARAMETERS,
  CMD_OLD_CHECK_POWER,
  CMD_OLD_IDLE,
  CMD_OLD_IDLE_IMMEDIATE,
  CMD_OLD_SLEEP,
  CMD_OLD_STANDBY,
  CMD_OLD_STANDBY_IMMEDIATE,
  CMD_READ,
  CMD_READ_DMA,
  CMD_READ_DMA_EXT,
  CMD_READ_DMA_NO_RETRY,
  CMD_READ_EXT,
  CMD_READ_MULTIPLE,
  CMD_READ_MULTIPLE_EXT,
  CMD_READ_NATIVE_MAX,
  CMD_READ_NATIVE_MAX_EXT,
  CMD_READ_NO_RETRY,
  CMD_RECALIBRATE,
  CMD_SEEK,
  CMD_SET_FEATURES,
  CMD_SET_MULTIPLE,
  CMD_SLEEP,
  CMD_SMART,
  CMD_STANDBY,
  CMD_STANDBY_IMMEDIATE,
  CMD_VERIFY,
  CMD_VERIFY_EXT,
  CMD_VERIFY_NO_RETRY,
  CMD_WRITE,
  CMD_WRITE_DMA,
  CMD_WRITE_DMA_EXT,
  CMD_WRITE_DMA_FUA_EXT,
  CMD_WRITE_DMA_NO_RETRY,
  CMD_WRITE_EXT,
  CMD_WRITE_MULTIPLE,
  CMD_WRITE_MULTIPLE_EXT,
  CMD_WRITE_MULTIPLE_FUA_EXT,
  CMD_WRITE_NO_RETRY,
  DEV_LBA,
  DEV_OBSOLETE,
  DRDY,
  DSC,
  ERR_ABRT,
  ERR_IDNF,
  ERR_UNC,
  FEATURE_TRANSFER_MODE,
  LBA28_SECTORS,
  MAX_MULTIPLE,
} from "./ata.ts";
import { Drive, type DriveWires, MOVING } from "./drive.ts";
import {
  BUFFER_BYTES,
  type DriveRegisters,
  REQUEST_FLUSH,
  REQUEST_READ,
  REQUEST_READ_DMA,
  REQUEST_WRITE,
  REQUEST_WRITE_DMA,
} from "./drive-state.ts";
import { type DriveNames, identifyDisk } from "./identify.ts";
import { answerSmart } from "./smart.ts";

// SET FEATURES, in the feature register: ATA/ATAPI-7, 6.51.
const FEATURE_WRITE_CACHE = 0x02;
const FEATURE_NO_LOOK_AHEAD = 0x55;
const FEATURE_KEEP_DEFAULTS = 0x66;
const FEATURE_NO_WRITE_CACHE = 0x82;
const FEATURE_LOOK_AHEAD = 0xaa;
const FEATURE_REVERT_DEFAULTS = 0xcc;

const POWER_STANDBY = 0x00;
const POWER_ACTIVE = 0xff;

export interface DiskFacts extends DriveNames {
  /** Of 512 bytes. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Bytes that the host's storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
  /** False: a write is on stable storage when it completes, until the driver switches the cache on. */
  readonly writeCache: boolean;
}

export class AtaDisk extends Drive {
  readonly #facts: DiskFacts;

  constructor(facts: DiskFacts, regs: DriveRegisters, wires: DriveWires) {
    super(regs, wires);
    this.#facts = facts;
  }

  override powerOn(): void {
    this.clear(this.#facts.sectors);
    this.regs.writeCache = this.#facts.writeCache ? 1 : 0;
  }

  protected override sign(): void {
    const { regs } = this;
    regs.count = 1;
    regs.lbaLow = 1;
    regs.lbaMid = 0;
    regs.lbaHigh = 0;
    regs.status = DRDY | DSC;
  }

  protected override begin(command: number): void {
    const { regs } = this;
    switch (command) {
      case CMD_READ:
      case CMD_READ_NO_RETRY:
      case CMD_READ_EXT:
        this.#read();
        break;
      case CMD_READ_MULTIPLE:
      case CMD_READ_MULTIPLE_EXT:
        if (regs.multiple === 0) this.abort();
        else this.#read();
        break;
      case CMD_WRITE:
      case CMD_WRITE_NO_RETRY:
      case CMD_WRITE_EXT:
        this.#write();
        break;
      case CMD_WRITE_MULTIPLE:
      case CMD_WRITE_MULTIPLE_EXT:
      case CMD_WRITE_MULTIPLE_FUA_EXT:
        if (regs.multiple === 0) this.abort();
        else this.#write();
        break;
      case CMD_READ_DMA:
      case CMD_READ_DMA_NO_RETRY:
      case CMD_READ_DMA_EXT:
        this.#moveByDma(REQUEST_READ_DMA);
        break;
      case CMD_WRITE_DMA:
      case CMD_WRITE_DMA_NO_RETRY:
      case CMD_WRITE_DMA_EXT:
      case CMD_WRITE_DMA_FUA_EXT:
        this.#moveByDma(REQUEST_WRITE_DMA);
        break;
      case CMD_VERIFY:
      case CMD_VERIFY_NO_RETRY:
      case CMD_VERIFY_EXT:
        if (this.#locate()) this.succeed();
        else this.fail(ERR_IDNF);
        break;
      case CMD_FLUSH:
      case CMD_FLUSH_EXT:
        this.ask(REQUEST_FLUSH, 0, 0, false);
        break;
      case CMD_IDENTIFY:
        identifyDisk(regs, this.#facts);
        this.offer(SECTOR);
        break;
      case CMD_SET_FEATURES:
        this.#setFeatures();
        break;
      case CMD_SET_MULTIPLE:
        this.#setMultiple();
        break;
      case CMD_INITIALIZE_PARAMETERS:
        this.#initializeParameters();
        break;
      case CMD_READ_NATIVE_MAX:
      case CMD_READ_NATIVE_MAX_EXT:
        this.#readNativeMax(command === CMD_READ_NATIVE_MAX_EXT);
        break;
      case CMD_SMART:
        this.#smart();
        break;
      case CMD_STANDBY:
      case CMD_STANDBY_IMMEDIATE:
      case CMD_OLD_STANDBY:
      case CMD_OLD_STANDBY_IMMEDIATE:
      case CMD_SLEEP:
      case CMD_OLD_SLEEP:
        regs.standby = 1;
        this.succeed();
        break;
      case CMD_IDLE:
      case CMD_IDLE_IMMEDIATE:
      case CMD_OLD_IDLE:
      case CMD_OLD_IDLE_IMMEDIATE:
        regs.standby = 0;
        this.succeed();
        break;
      case CMD_CHECK_POWER:
      case CMD_OLD_CHECK_POWER:
        regs.count = regs.standby === 0 ? POWER_ACTIVE : POWER_STANDBY;
        this.succeed();
        break;
      default:
        // RECALIBRATE and SEEK have 16 numbers each; there is nothing to move.
        if ((command & 0xf0) === CMD_RECALIBRATE || (command & 0xf0) === CMD_SEEK) this.succeed();
        else this.abort();
    }
  }

  protected override requestFailed(request: number): void {
    this.fail(request === REQUEST_READ || request === REQUEST_READ_DMA ? ERR_UNC : ERR_ABRT);
  }

  protected override requestDone(request: number, bytes: number): void {
    const { regs } = this;
    switch (request) {
      case REQUEST_READ:
        this.#advance(bytes / SECTOR);
        this.offer(bytes);
        break;
      case REQUEST_WRITE:
        this.#advance(bytes / SECTOR);
        if (regs.sectors === 0) {
          this.succeed();
          return;
        }
        this.#acceptSectors();
        this.interrupt();
        break;
      default:
        regs.sectors = 0;
        this.succeed();
        break;
    }
  }

  protected override blockBytes(): number {
    switch (this.regs.command) {
      case CMD_READ_MULTIPLE:
      case CMD_READ_MULTIPLE_EXT:
      case CMD_WRITE_MULTIPLE:
      case CMD_WRITE_MULTIPLE_EXT:
      case CMD_WRITE_MULTIPLE_FUA_EXT:
        return Math.max(1, this.regs.multiple) * SECTOR;
      default:
        return SECTOR;
    }
  }

  protected override dataTaken(): void {
    const { regs } = this;
    regs.status = DRDY | DSC;
    if (regs.sectors > 0) this.#askForSectors();
  }

  protected override dataGiven(): void {
    const { regs } = this;
    this.ask(REQUEST_WRITE, regs.lba * SECTOR, regs.filled, this.#isDurable);
  }

  #read(): void {
    if (!this.#locate()) {
      this.fail(ERR_IDNF);
      return;
    }
    this.#askForSectors();
  }

  #askForSectors(): void {
    const { regs } = this;
    this.ask(REQUEST_READ, regs.lba * SECTOR, Math.min(regs.sectors * SECTOR, BUFFER_BYTES), false);
  }

  #write(): void {
    if (this.#facts.readOnly) {
      this.abort();
      return;
    }
    if (!this.#locate()) {
      this.fail(ERR_IDNF);
      return;
    }
    this.#acceptSectors();
  }

  #acceptSectors(): void {
    this.accept(Math.min(this.regs.sectors * SECTOR, BUFFER_BYTES));
  }

  #moveByDma(request: typeof REQUEST_READ_DMA | typeof REQUEST_WRITE_DMA): void {
    const { regs } = this;
    const isWrite = request === REQUEST_WRITE_DMA;
    if (isWrite && this.#facts.readOnly) {
      this.abort();
      return;
    }
    if (!this.#locate()) {
      this.fail(ERR_IDNF);
      return;
    }
    const bytes = regs.sectors * SECTOR;
    this.ask(request, regs.lba * SECTOR, bytes, isWrite && this.#isDurable, MOVING);
  }

  /** Finds the sectors that the registers name. False if the disk does not have them. */
  #locate(): boolean {
    const { regs } = this;
    const { lbaLow, lbaMid, lbaHigh } = regs;
    regs.standby = 0;
    let lba: number;
    let count: number;
    if (isExtended(regs.command)) {
      lba = lbaLow + lbaMid * 2 ** 8 + lbaHigh * 2 ** 16;
      lba += regs.hobLow * 2 ** 24 + regs.hobMid * 2 ** 32 + regs.hobHigh * 2 ** 40;
      count = regs.hobCount * 256 + regs.count || 65536;
    } else {
      count = regs.count || 256;
      const head = regs.device & 0x0f;
      const cylinder = lbaMid + lbaHigh * 256;
      if ((regs.device & DEV_LBA) !== 0) lba = lbaLow + cylinder * 256 + head * 2 ** 24;
      else lba = lbaLow === 0 ? -1 : (cylinder * regs.heads + head) * regs.sectorsPerTrack + lbaLow - 1;
    }
    if (lba < 0 || lba + count > regs.mediaSectors) return false;
    regs.lba = lba;
    regs.sectors = count;
    return true;
  }

  #advance(sectors: number): void {
    const { regs } = this;
    regs.lba += sectors;
    regs.sectors = Math.max(0, regs.sectors - sectors);
  }

  /** A write has to be on stable storage when the command completes. */
  get #isDurable(): boolean {
    const { command, writeCache } = this.regs;
    return writeCache === 0 || command === CMD_WRITE_DMA_FUA_EXT || command === CMD_WRITE_MULTIPLE_FUA_EXT;
  }

  #setFeatures(): void {
    const { regs } = this;
    switch (regs.feature) {
      case FEATURE_WRITE_CACHE:
        regs.writeCache = 1;
        this.succeed();
        break;
      case FEATURE_NO_WRITE_CACHE:
        regs.writeCache = 0;
        this.ask(REQUEST_FLUSH, 0, 0, false); // what is in the cache now
        break;
      case FEATURE_TRANSFER_MODE:
        if (!isTransferMode(regs.count)) {
          this.abort();
          return;
        }
        regs.transferMode = regs.count;
        this.succeed();
        break;
      case FEATURE_LOOK_AHEAD:
      case FEATURE_NO_LOOK_AHEAD:
        regs.lookAhead = regs.feature === FEATURE_LOOK_AHEAD ? 1 : 0;
        this.succeed();
        break;
      case FEATURE_KEEP_DEFAULTS:
      case FEATURE_REVERT_DEFAULTS:
        this.succeed();
        break;
      default:
        this.abort();
        break;
    }
  }

  #setMultiple(): void {
    const { regs } = this;
    const { count } = regs;
    if (count > MAX_MULTIPLE || (count & (count - 1)) !== 0) {
      this.abort();
      return;
    }
    regs.multiple = count;
    this.succeed();
  }

  #initializeParameters(): void {
    const { regs } = this;
    if (regs.count === 0) {
      this.abort();
      return;
    }
    regs.sectorsPerTrack = regs.count;
    regs.heads = (regs.device & 0x0f) + 1;
    this.succeed();
  }

  #readNativeMax(isExt: boolean): void {
    const { regs } = this;
    const last = Math.max(0, (isExt ? regs.mediaSectors : Math.min(regs.mediaSectors, LBA28_SECTORS)) - 1);
    const low = last % 2 ** 24;
    const high = Math.floor(last / 2 ** 24);
    regs.lbaLow = low & 0xff;
    regs.lbaMid = (low >>> 8) & 0xff;
    regs.lbaHigh = low >>> 16;
    if (isExt) {
      regs.hobLow = high & 0xff;
      regs.hobMid = (high >>> 8) & 0xff;
      regs.hobHigh = (high >>> 16) & 0xff;
    } else {
      regs.device = DEV_OBSOLETE | (regs.device & DEV_LBA) | (high & 0x0f);
    }
    this.succeed();
  }

  #smart(): void {
    const bytes = answerSmart(this.regs);
    if (bytes < 0) {
      this.abort();
      return;
    }
    if (bytes === 0) {
      this.succeed();
      return;
    }
    this.offer(bytes);
  }
}

/** Commands with addresses of 48 bits. */
function isExtended(command: number): boolean {
  switch (command) {
    case CMD_READ_EXT:
    case CMD_READ_DMA_EXT:
    case CMD_READ_MULTIPLE_EXT:
    case CMD_WRITE_EXT:
    case CMD_WRITE_DMA_EXT:
    case CMD_WRITE_DMA_FUA_EXT:
    case CMD_WRITE_MULTIPLE_EXT:
    case CMD_WRITE_MULTIPLE_FUA_EXT:
    case CMD_VERIFY_EXT:
      return true;
    default:
      return false;
  }
}

/** PIO modes to 4, multiword DMA to 2, Ultra DMA to 5: what IDENTIFY DEVICE offers. ATA/ATAPI-7, table 48. */
function isTransferMode(mode: number): boolean {
  const number = mode & 7;
  switch (mode >> 3) {
    case 0:
      return number <= 1;
    case 1:
      return number <= 4;
    case 4:
      return number <= 2;
    case 8:
      return number <= 5;
    default:
      return false;
  }
}
