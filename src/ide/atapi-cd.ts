/**
 * An ATAPI CD drive: how packets arrive, and how their data and status leave. The commands
 * themselves, the medium and the tray are in scsi/cd-commands.ts.
 *
 * Source: ATA/ATAPI-7 volume 1, section 6 and 5.9 (registers of packet commands).
 */
import { CD_BLOCK, CD_RAW_BLOCK, toRawBlocks } from "../scsi/cd-answers.ts";
import { CdCommands, ON_ATAPI } from "../scsi/cd-commands.ts";
import { INQUIRY, INVALID_FIELD, NO_SENSE, REQUEST_SENSE, UNRECOVERED_READ } from "../scsi/commands.ts";
import { ANSWER, CHECK, putSense, READ } from "../scsi/unit.ts";
import {
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
import { type DriveNames, identifyCd, inquiryOfCd } from "./identify.ts";

// The feature register of PACKET.
const PACKET_DMA = 0x01;
const PACKET_OVERLAPPED = 0x02;

export interface CdFacts extends DriveNames {
  /** Of 512 bytes; 0 for an empty drive. */
  readonly sectors: number;
  /** When it is switched on. */
  readonly trayOpen?: boolean;
}

export class AtapiCd extends Drive {
  readonly #facts: CdFacts;
  readonly #cd: CdCommands;

  constructor(facts: CdFacts, regs: DriveRegisters, wires: DriveWires) {
    super(regs, wires);
    this.#facts = facts;
    this.#cd = new CdCommands(regs, regs.buffer, ON_ATAPI);
  }

  override powerOn(): void {
    const { sectors, trayOpen = false } = this.#facts;
    this.clear(sectors);
    this.#cd.powerOn(sectors, trayOpen);
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
    this.#cd.insert(sectors);
  }

  /** Somebody presses the button. @returns false if the guest has locked the drive: then it learns what is wanted */
  eject(force = false): boolean {
    if (!this.#cd.eject(force)) return false;
    if (this.regs.request !== REQUEST_NONE) this.#check(this.#cd.absence);
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
    this.#check(UNRECOVERED_READ);
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
    const { packet, buffer } = regs;
    const cd = this.#cd;
    switch (packet[0]) {
      case REQUEST_SENSE: {
        const bytes = putSense(buffer, (regs.sense << 16) | (regs.asc << 8) | regs.ascq);
        this.#sense(NO_SENSE);
        this.#answer(Math.min(bytes, packet[4]));
        return;
      }
      case INQUIRY:
        if ((packet[1] & 1) !== 0) this.#check(INVALID_FIELD);
        else this.#answer(Math.min(inquiryOfCd(buffer, this.#facts), packet[4]));
        return;
    }
    switch (cd.execute(packet)) {
      case CHECK:
        this.#check(cd.sense);
        break;
      case ANSWER:
        this.#answer(cd.length);
        break;
      case READ:
        this.#read(cd.lba, cd.blocks, cd.isRaw);
        break;
      default:
        this.#good();
    }
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

  #read(lba: number, blocks: number, raw: boolean): void {
    const { regs } = this;
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
    if (this.regs.sectors === 0) {
      this.#good();
      return;
    }
    const change = this.#cd.hasMedium ? this.#cd.takeAttention() : this.#cd.absence;
    if (change === NO_SENSE) this.#askForBlocks();
    else this.#check(change);
  }

  /** Sends the first `length` bytes of the buffer. */
  #answer(length: number): void {
    const { regs } = this;
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
    this.#sense(NO_SENSE);
    this.regs.count = REASON_COMMAND | REASON_TO_HOST;
    this.succeed();
  }

  /** Ends the command with CHECK CONDITION. */
  #check(sense: number): void {
    this.#sense(sense);
    this.regs.count = REASON_COMMAND | REASON_TO_HOST;
    this.fail(this.regs.sense << 4);
  }

  #sense(sense: number): void {
    const { regs } = this;
    regs.sense = sense >> 16;
    regs.asc = (sense >> 8) & 0xff;
    regs.ascq = sense & 0xff;
  }
}
