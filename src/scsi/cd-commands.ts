/**
 * The commands of a CD drive, its tray and its medium: what a drive on IDE and one on a
 * SCSI controller have in common. A command is executed as far as no storage is needed.
 * What differs is how a drive is asked and how it answers, INQUIRY, and the other
 * causes of a unit attention.
 *
 * Source: MMC-3 (T10/1363D), section 5 and 6, and SPC-2 for what is common to all of SCSI.
 */
import { SECTOR } from "../base/units.ts";
import * as answers from "./cd-answers.ts";
import * as scsi from "./commands.ts";
import { ANSWER, CHECK, GOOD, READ } from "./unit.ts";

/** READ CD, byte 9: which parts of a block. */
const CD_USER_DATA = 0x10;
const CD_EVERYTHING = 0xf8;

// Changes of the medium, as GET EVENT STATUS NOTIFICATION has them: MMC-3, table 121.
const EVENT_NONE = 0;
const EVENT_EJECT_REQUEST = 1;
const EVENT_NEW_MEDIUM = 2;
const EVENT_REMOVED = 3;

/** How a drive is connected, as the core feature has it: MMC-3, table 79. */
export const ON_SCSI = 1;
export const ON_ATAPI = 2;

const MEDIUM_CHANGED_CODE = (scsi.MEDIUM_CHANGED >> 8) & 0xff;
const UNIT_ATTENTION = 0x06_00_00;
const SECTORS_PER_BLOCK = answers.CD_BLOCK / SECTOR;

export class CdCommands {
  /** Answers: bytes of the buffer. */
  length = 0;
  sense = scsi.NO_SENSE;
  // What to read: the first block, how many, and whether with all that is stored around the data.
  lba = 0;
  blocks = 0;
  isRaw = false;
  readonly #regs: answers.CdRegisters;
  readonly #buffer: Uint8Array;
  readonly #transport: number;

  constructor(regs: answers.CdRegisters, buffer: Uint8Array, transport: typeof ON_SCSI | typeof ON_ATAPI) {
    this.#regs = regs;
    this.#buffer = buffer;
    this.#transport = transport;
  }

  /** As it is when it gets power. @param sectors of 512 bytes; 0 without a medium */
  powerOn(sectors: number, trayOpen: boolean): void {
    const regs = this.#regs;
    regs.mediaSectors = sectors;
    regs.trayOpen = trayOpen ? 1 : 0;
    regs.locked = 0;
    regs.ejectWanted = 0;
    regs.mediaEvent = EVENT_NONE;
    regs.attention = 0;
  }

  get hasMedium(): boolean {
    return this.#regs.mediaSectors > 0 && this.#regs.trayOpen === 0;
  }

  /** Why a command that needs a medium fails. */
  get absence(): number {
    return this.#regs.trayOpen === 0 ? scsi.NO_MEDIUM_TRAY_CLOSED : scsi.NO_MEDIUM_TRAY_OPEN;
  }

  /** Another medium is in the drive, which is closed. @param sectors of 512 bytes */
  insert(sectors: number): void {
    const regs = this.#regs;
    regs.mediaSectors = sectors;
    regs.trayOpen = 0;
    regs.ejectWanted = 0;
    regs.attention = MEDIUM_CHANGED_CODE;
    regs.mediaEvent = EVENT_NEW_MEDIUM;
  }

  /** Somebody presses the button. @returns false if the guest has locked the drive: then an event says what is wanted */
  eject(force: boolean): boolean {
    const regs = this.#regs;
    if (regs.locked !== 0 && regs.trayOpen === 0 && !force) {
      regs.mediaEvent = EVENT_EJECT_REQUEST;
      regs.ejectWanted = 1;
      return false;
    }
    regs.mediaSectors = 0;
    regs.attention = 0;
    this.#openTray();
    return true;
  }

  /** The unit attention that a command reports, which clears it. NO_SENSE if there is none. */
  takeAttention(): number {
    const { attention } = this.#regs;
    this.#regs.attention = 0;
    return attention === 0 ? scsi.NO_SENSE : UNIT_ATTENTION | (attention << 8);
  }

  /** @returns GOOD, CHECK, ANSWER, or READ */
  execute(command: Uint8Array): number {
    this.length = 0;
    const [operation] = command;
    if (!isAnsweredAlways(operation)) {
      const attention = this.takeAttention();
      if (attention !== scsi.NO_SENSE) return this.#check(attention);
    }
    if (needsMedium(operation) && !this.hasMedium) return this.#check(this.absence);
    const buffer = this.#buffer;
    const regs = this.#regs;
    switch (operation) {
      case scsi.TEST_UNIT_READY:
      case scsi.SET_SPEED:
        return GOOD;
      case scsi.START_STOP_UNIT:
        return this.#startStop(command[4]);
      case scsi.PREVENT_ALLOW:
        regs.locked = command[4] & 1;
        return GOOD;
      case scsi.READ_CAPACITY_10:
        return this.#answer(answers.capacity(buffer, this.#blocks), 8);
      case scsi.READ_10:
        return this.#read(command, scsi.u16(command, 7), false);
      case scsi.READ_12:
        return this.#read(command, scsi.u32(command, 6), false);
      case scsi.READ_CD:
        return this.#readCd(command);
      case scsi.SEEK_10:
        return scsi.u32(command, 2) < this.#blocks ? GOOD : this.#check(scsi.OUT_OF_RANGE);
      case scsi.READ_TOC:
        return this.#answer(answers.tableOfContents(command, buffer, this.#blocks), scsi.u16(command, 7));
      case scsi.GET_CONFIGURATION: {
        const blocks = this.hasMedium ? this.#blocks : 0;
        return this.#answer(answers.features(command, buffer, blocks, this.#transport), scsi.u16(command, 7));
      }
      case scsi.GET_EVENT_STATUS:
        return this.#answer(answers.eventStatus(command, buffer, regs), scsi.u16(command, 7));
      case scsi.READ_DISC_INFORMATION:
        return this.#answer(answers.discInformation(command, buffer), scsi.u16(command, 7));
      case scsi.MODE_SENSE_10:
        return this.#modeSense(command, scsi.u16(command, 7), true);
      // MMC-3 does not have it any more; Linux's sr driver asks a SCSI drive by it.
      case scsi.MODE_SENSE_6:
        if (this.#transport !== ON_SCSI) return this.#check(scsi.INVALID_OPERATION);
        return this.#modeSense(command, command[4], false);
      case scsi.MECHANISM_STATUS:
        return this.#answer(answers.mechanismStatus(buffer, regs), scsi.u16(command, 8));
      default:
        return this.#check(scsi.INVALID_OPERATION);
    }
  }

  get #blocks(): number {
    return Math.floor(this.#regs.mediaSectors / SECTORS_PER_BLOCK);
  }

  #startStop(flags: number): number {
    const regs = this.#regs;
    const isToStart = (flags & 1) !== 0;
    const movesTray = (flags & 2) !== 0;
    if (!movesTray) return GOOD;
    if (isToStart) {
      if (regs.trayOpen !== 0 && regs.mediaSectors > 0) {
        regs.attention = MEDIUM_CHANGED_CODE;
        regs.mediaEvent = EVENT_NEW_MEDIUM;
      }
      regs.trayOpen = 0;
      return GOOD;
    }
    if (regs.locked !== 0) return this.#check(scsi.REMOVAL_PREVENTED);
    this.#openTray();
    return GOOD;
  }

  #openTray(): void {
    const regs = this.#regs;
    regs.trayOpen = 1;
    regs.locked = 0;
    regs.ejectWanted = 0;
    regs.mediaEvent = EVENT_REMOVED;
  }

  #readCd(command: Uint8Array): number {
    const blocks = command[6] * 65536 + scsi.u16(command, 7);
    switch (command[9] & 0xf8) {
      case 0:
        return GOOD; // nothing of the block is wanted
      case CD_USER_DATA:
        return this.#read(command, blocks, false);
      case CD_EVERYTHING:
        return this.#read(command, blocks, true);
      default:
        return this.#check(scsi.INVALID_FIELD);
    }
  }

  #read(command: Uint8Array, blocks: number, isRaw: boolean): number {
    const lba = scsi.u32(command, 2);
    if (lba + blocks > this.#blocks) return this.#check(scsi.OUT_OF_RANGE);
    if (blocks === 0) return GOOD;
    this.lba = lba;
    this.blocks = blocks;
    this.isRaw = isRaw;
    return READ;
  }

  #modeSense(command: Uint8Array, most: number, isLong: boolean): number {
    if (command[2] >> 6 === 3) return this.#check(scsi.SAVING_NOT_SUPPORTED);
    return this.#answer(answers.modePages(command, this.#buffer, this.#regs, isLong), most);
  }

  /** @param bytes a negative number means that the command asked for what there is not */
  #answer(bytes: number, most: number): number {
    if (bytes < 0) return this.#check(scsi.INVALID_FIELD);
    this.length = Math.min(bytes, most);
    return ANSWER;
  }

  #check(sense: number): number {
    this.sense = sense;
    return CHECK;
  }
}

/** Commands that do not report a unit attention: MMC-3, 4.1.6 with SPC-2, 5.6.2. */
export function isAnsweredAlways(operation: number): boolean {
  switch (operation) {
    case scsi.REQUEST_SENSE:
    case scsi.INQUIRY:
    case scsi.REPORT_LUNS:
    case scsi.GET_CONFIGURATION:
    case scsi.GET_EVENT_STATUS:
      return true;
    default:
      return false;
  }
}

function needsMedium(operation: number): boolean {
  switch (operation) {
    case scsi.TEST_UNIT_READY:
    case scsi.READ_CAPACITY_10:
    case scsi.READ_10:
    case scsi.READ_12:
    case scsi.READ_CD:
    case scsi.SEEK_10:
    case scsi.READ_TOC:
    case scsi.READ_DISC_INFORMATION:
      return true;
    default:
      return false;
  }
}
