/**
 * An ATAPI CD drive: packet commands, the medium, the tray.
 *
 * Source: ATA/ATAPI-7 volume 1, section 6 and 5.9 (registers of packet commands);
 * MMC-3 (T10/1363D), section 5 and 6, and SPC-2 for what is common to all of SCSI.
 */
import { SECTOR } from "../base/units.ts";
import {
  CD_BLOCK,
  CD_RAW_BLOCK,
  CMD_CHECK_POWER,
  CMD_DEVICE_RESET,
  CMD_FLUSH,
  CMD_IDENTIFY,
  CMD_IDENTIFY_PACKET,
  CMD_IDLE,
  CMD_IDLE_IMMEDIATE,
  CMD_PACKET,
  CMD_SET_FEATURES,
  CMD_SLEEP,
  CMD_STANDBY,
  CMD_STANDBY_IMMEDIATE,
  DRDY,
  DSC,
  FEATURE_TRANSFER_MODE,
  REASON_COMMAND,
  REASON_TO_HOST,
} from "./ata.ts";
import {
  ascqOfAbsence,
  capacity,
  discInformation,
  eventStatus,
  features,
  inquiry,
  mechanismStatus,
  modePages,
  senseData,
  tableOfContents,
  toRawBlocks,
} from "./cd-answers.ts";
import {
  ASC_INVALID_FIELD,
  ASC_INVALID_OPERATION,
  ASC_MEDIUM_CHANGED,
  ASC_NO_MEDIUM,
  ASC_OUT_OF_RANGE,
  ASC_REMOVAL_PREVENTED,
  ASC_SAVING_NOT_SUPPORTED,
  ASC_UNRECOVERED_READ,
  ASCQ_REMOVAL_PREVENTED,
  GET_CONFIGURATION,
  GET_EVENT_STATUS,
  ILLEGAL_REQUEST,
  INQUIRY,
  isAnsweredAlways,
  MECHANISM_STATUS,
  MEDIUM_ERROR,
  MODE_SENSE,
  NOT_READY,
  needsMedium,
  PREVENT_ALLOW,
  READ_10,
  READ_12,
  READ_CAPACITY,
  READ_CD,
  READ_DISC_INFORMATION,
  READ_TOC,
  REQUEST_SENSE,
  SEEK,
  SET_SPEED,
  START_STOP_UNIT,
  TEST_UNIT_READY,
  UNIT_ATTENTION,
  u16,
  u32,
} from "./cd-packets.ts";
import { Drive, type DriveWires, MOVING } from "./drive.ts";
import {
  BUFFER_BYTES,
  type DriveRegisters,
  PHASE_IN,
  REQUEST_COPY_DMA,
  REQUEST_NONE,
  REQUEST_READ,
  REQUEST_READ_DMA,
} from "./drive-state.ts";
import { type DriveNames, identifyCd } from "./identify.ts";

// The feature register of PACKET.
const PACKET_DMA = 0x01;
const PACKET_OVERLAPPED = 0x02;

/** READ CD, byte 9: which parts of a block. */
const CD_USER_DATA = 0x10;
const CD_EVERYTHING = 0xf8;

/** Changes of the medium, as GET EVENT STATUS NOTIFICATION has them: MMC-3, table 121. */
const EVENT_EJECT_REQUEST = 1;
const EVENT_NEW_MEDIUM = 2;
const EVENT_REMOVED = 3;

const SECTORS_PER_BLOCK = CD_BLOCK / SECTOR;

export interface CdFacts extends DriveNames {
  /** Of 512 bytes; 0 for an empty drive. */
  readonly sectors: number;
  /** When it is switched on. */
  readonly trayOpen?: boolean;
}

export class AtapiCd extends Drive {
  readonly #facts: CdFacts;

  constructor(facts: CdFacts, regs: DriveRegisters, wires: DriveWires) {
    super(regs, wires);
    this.#facts = facts;
  }

  override powerOn(): void {
    this.clear(this.#facts.sectors);
    this.regs.trayOpen = this.#facts.trayOpen ? 1 : 0;
    this.regs.writeCache = 0;
  }

  protected override sign(): void {
    const { regs } = this;
    regs.count = 1;
    regs.lbaLow = 1;
    regs.lbaMid = 0x14;
    regs.lbaHigh = 0xeb;
    regs.status = 0; // DRDY is set by the first packet command
  }

  /** Another medium is in the drive, which is closed. @param sectors of 512 bytes */
  insert(sectors: number): void {
    const { regs } = this;
    regs.mediaSectors = sectors;
    regs.trayOpen = 0;
    regs.ejectWanted = 0;
    regs.attention = ASC_MEDIUM_CHANGED;
    regs.mediaEvent = EVENT_NEW_MEDIUM;
  }

  /** Somebody presses the button. @returns false if the guest has locked the drive: then it learns what is wanted */
  eject(force = false): boolean {
    const { regs } = this;
    if (regs.locked !== 0 && regs.trayOpen === 0 && !force) {
      regs.mediaEvent = EVENT_EJECT_REQUEST;
      regs.ejectWanted = 1;
      return false;
    }
    regs.mediaSectors = 0;
    regs.attention = 0;
    this.#openTray();
    if (regs.request !== REQUEST_NONE) this.#check(NOT_READY, ASC_NO_MEDIUM, ascqOfAbsence(regs));
    return true;
  }

  protected override begin(command: number): void {
    const { regs } = this;
    switch (command) {
      case CMD_PACKET:
        this.#beginPacket();
        break;
      case CMD_IDENTIFY_PACKET:
        identifyCd(regs, this.#facts);
        this.offer(512);
        break;
      case CMD_IDENTIFY:
        // ATA/ATAPI-7, 6.17.3: aborted, with the signature, so that the driver knows what this is.
        this.sign();
        this.abort();
        break;
      case CMD_DEVICE_RESET:
        this.softReset();
        break;
      case CMD_SET_FEATURES:
        if (regs.feature === FEATURE_TRANSFER_MODE) {
          regs.transferMode = regs.count;
          this.succeed();
        } else {
          this.abort();
        }
        break;
      case CMD_CHECK_POWER:
        regs.count = 0xff;
        this.succeed();
        break;
      case CMD_FLUSH:
      case CMD_STANDBY:
      case CMD_STANDBY_IMMEDIATE:
      case CMD_IDLE:
      case CMD_IDLE_IMMEDIATE:
      case CMD_SLEEP:
        this.succeed();
        break;
      default:
        this.abort();
    }
  }

  protected override requestFailed(): void {
    this.#check(MEDIUM_ERROR, ASC_UNRECOVERED_READ);
  }

  protected override requestDone(request: number, bytes: number): void {
    const { regs } = this;
    if (request === REQUEST_READ_DMA) {
      regs.sectors = 0;
      this.#good();
      return;
    }
    if (request === REQUEST_COPY_DMA) {
      regs.dmaDone += bytes;
      this.#next();
      return;
    }
    const blocks = Math.min(16, Math.floor(bytes / CD_BLOCK));
    regs.lba += blocks;
    regs.sectors = Math.max(0, regs.sectors - blocks);
    if (regs.rawBlocks === 0) {
      this.#reply(blocks * CD_BLOCK);
      return;
    }
    toRawBlocks(regs.buffer, regs.lba - blocks, blocks);
    this.#reply(blocks * CD_RAW_BLOCK);
  }

  /** Bytes that the driver takes at once: what it said with the packet, and even unless it is the rest. */
  protected override blockBytes(): number {
    const { regs } = this;
    if (regs.command !== CMD_PACKET) return 512;
    const limit = Math.min(0xfffe, this.#byteLimit);
    return regs.filled - regs.at <= limit ? limit : Math.max(2, limit & ~1);
  }

  protected override announce(bytes: number, phase: number): void {
    const { regs } = this;
    if (regs.command !== CMD_PACKET || phase !== PHASE_IN) return;
    regs.count = REASON_TO_HOST;
    regs.lbaMid = bytes & 0xff;
    regs.lbaHigh = bytes >>> 8;
  }

  protected override dataTaken(): void {
    if (this.regs.command === CMD_PACKET) this.#next();
    else this.regs.status = DRDY | DSC;
  }

  /** No command of this drive takes data. */
  protected override dataGiven(): void {
    this.abort();
  }

  protected override packetGiven(): void {
    const { regs } = this;
    const { packet } = regs;
    const [operation] = packet;
    if (regs.attention !== 0 && !isAnsweredAlways(operation)) {
      this.#reportAttention();
      return;
    }
    if (needsMedium(operation) && !this.#hasMedium) {
      this.#check(NOT_READY, ASC_NO_MEDIUM, ascqOfAbsence(regs));
      return;
    }
    switch (operation) {
      case TEST_UNIT_READY:
      case SET_SPEED:
        this.#good();
        break;
      case REQUEST_SENSE: {
        const bytes = senseData(regs);
        this.#sense(0, 0, 0);
        this.#answer(bytes, packet[4]);
        break;
      }
      case INQUIRY:
        if ((packet[1] & 1) !== 0) this.#check(ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        else this.#answer(inquiry(regs.buffer, this.#facts.model), packet[4]);
        break;
      case START_STOP_UNIT:
        this.#startStop();
        break;
      case PREVENT_ALLOW:
        regs.locked = packet[4] & 1;
        this.#good();
        break;
      case READ_CAPACITY:
        this.#answer(capacity(regs.buffer, this.#blocks), 8);
        break;
      case READ_10:
        this.#read(u16(packet, 7), false);
        break;
      case READ_12:
        this.#read(u32(packet, 6), false);
        break;
      case READ_CD:
        this.#readCd();
        break;
      case SEEK:
        if (u32(packet, 2) < this.#blocks) this.#good();
        else this.#check(ILLEGAL_REQUEST, ASC_OUT_OF_RANGE);
        break;
      case READ_TOC:
        this.#answerOr(tableOfContents(regs, this.#blocks), u16(packet, 7));
        break;
      case GET_CONFIGURATION:
        this.#answerOr(features(regs, this.#hasMedium ? this.#blocks : 0), u16(packet, 7));
        break;
      case GET_EVENT_STATUS:
        this.#answerOr(eventStatus(regs), u16(packet, 7));
        break;
      case READ_DISC_INFORMATION:
        this.#answerOr(discInformation(regs), u16(packet, 7));
        break;
      case MODE_SENSE:
        if (packet[2] >> 6 === 3) this.#check(ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
        else this.#answerOr(modePages(regs), u16(packet, 7));
        break;
      case MECHANISM_STATUS:
        this.#answer(mechanismStatus(regs), u16(packet, 8));
        break;
      default:
        this.#check(ILLEGAL_REQUEST, ASC_INVALID_OPERATION);
    }
  }

  #reportAttention(): void {
    this.#check(UNIT_ATTENTION, this.regs.attention);
    this.regs.attention = 0;
  }

  #beginPacket(): void {
    const { regs } = this;
    if ((regs.feature & PACKET_OVERLAPPED) !== 0) {
      this.abort();
      return;
    }
    regs.packetDma = regs.feature & PACKET_DMA;
    regs.byteLimitLow = regs.lbaMid;
    regs.byteLimitHigh = regs.lbaHigh;
    regs.sectors = 0;
    regs.dmaDone = 0;
    this.acceptPacket();
  }

  get #byteLimit(): number {
    return this.regs.byteLimitLow | (this.regs.byteLimitHigh << 8);
  }

  get #hasMedium(): boolean {
    return this.regs.mediaSectors > 0 && this.regs.trayOpen === 0;
  }

  get #blocks(): number {
    return Math.floor(this.regs.mediaSectors / SECTORS_PER_BLOCK);
  }

  #startStop(): void {
    const { regs } = this;
    const start = (regs.packet[4] & 1) !== 0;
    const movesTray = (regs.packet[4] & 2) !== 0;
    if (!movesTray) {
      this.#good();
      return;
    }
    if (start) {
      if (regs.trayOpen !== 0 && regs.mediaSectors > 0) {
        regs.attention = ASC_MEDIUM_CHANGED;
        regs.mediaEvent = EVENT_NEW_MEDIUM;
      }
      regs.trayOpen = 0;
      this.#good();
      return;
    }
    if (regs.locked !== 0) {
      this.#check(ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED, ASCQ_REMOVAL_PREVENTED);
      return;
    }
    this.#openTray();
    this.#good();
  }

  #openTray(): void {
    const { regs } = this;
    regs.trayOpen = 1;
    regs.locked = 0;
    regs.ejectWanted = 0;
    regs.mediaEvent = EVENT_REMOVED;
  }

  #readCd(): void {
    const { regs } = this;
    const { packet } = regs;
    const blocks = packet[6] * 65536 + u16(packet, 7);
    switch (packet[9] & 0xf8) {
      case 0:
        this.#good(); // nothing of the block is wanted
        break;
      case CD_USER_DATA:
        this.#read(blocks, false);
        break;
      case CD_EVERYTHING:
        this.#read(blocks, true);
        break;
      default:
        this.#check(ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    }
  }

  #read(blocks: number, raw: boolean): void {
    const { regs } = this;
    const lba = u32(regs.packet, 2);
    if (lba + blocks > this.#blocks) {
      this.#check(ILLEGAL_REQUEST, ASC_OUT_OF_RANGE);
      return;
    }
    if (blocks === 0) {
      this.#good();
      return;
    }
    if (regs.packetDma === 0 && this.#byteLimit === 0) {
      this.abort();
      return;
    }
    regs.rawBlocks = raw ? 1 : 0;
    regs.lba = lba;
    regs.sectors = blocks;
    if (regs.packetDma !== 0 && !raw) {
      this.ask(REQUEST_READ_DMA, lba * CD_BLOCK, blocks * CD_BLOCK, false, MOVING);
      return;
    }
    this.#askForBlocks();
  }

  #askForBlocks(): void {
    const { regs } = this;
    const room = Math.floor(BUFFER_BYTES / (regs.rawBlocks === 0 ? CD_BLOCK : CD_RAW_BLOCK));
    this.ask(REQUEST_READ, regs.lba * CD_BLOCK, Math.min(regs.sectors, room) * CD_BLOCK, false);
  }

  /** The driver has all that was in the buffer. What is missing was on the medium that the command began with. */
  #next(): void {
    const { regs } = this;
    if (regs.sectors === 0) this.#good();
    else if (!this.#hasMedium) this.#check(NOT_READY, ASC_NO_MEDIUM, ascqOfAbsence(regs));
    else if (regs.attention !== 0) this.#reportAttention();
    else this.#askForBlocks();
  }

  /** Sends `bytes` of the buffer; a negative number of them means that the packet was wrong. */
  #answerOr(bytes: number, most: number): void {
    if (bytes < 0) this.#check(ILLEGAL_REQUEST, ASC_INVALID_FIELD);
    else this.#answer(bytes, most);
  }

  #answer(bytes: number, most: number): void {
    const { regs } = this;
    const length = Math.min(bytes, most);
    if (length === 0) {
      this.#good();
      return;
    }
    if (regs.packetDma === 0 && this.#byteLimit === 0) {
      this.abort();
      return;
    }
    regs.sectors = 0;
    this.#reply(length);
  }

  #reply(bytes: number): void {
    if (this.regs.packetDma === 0) this.offer(bytes);
    else this.ask(REQUEST_COPY_DMA, 0, bytes, false, MOVING);
  }

  #good(): void {
    this.#sense(0, 0, 0);
    this.regs.count = REASON_COMMAND | REASON_TO_HOST;
    this.succeed();
  }

  /** Ends the command with CHECK CONDITION. */
  #check(key: number, asc: number, ascq = 0): void {
    this.#sense(key, asc, ascq);
    this.regs.count = REASON_COMMAND | REASON_TO_HOST;
    this.fail(key << 4);
  }

  #sense(key: number, asc: number, ascq: number): void {
    const { regs } = this;
    regs.sense = key;
    regs.asc = asc;
    regs.ascq = ascq;
  }
}
