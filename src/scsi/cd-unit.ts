/**
 * A CD drive on a SCSI controller. What is common with one on IDE is in cd-commands.ts.
 *
 * Source: MMC-3 (T10/1363D); SPC-4 (T10/1731-D).
 *
 * Not answered: READ CD of whole blocks with their headers, whose bytes the storage does not have.
 */
import { layout } from "../base/layout.ts";
import { SECTOR } from "../base/units.ts";
import { CD_BLOCK } from "./cd-answers.ts";
import { CdCommands, isAnsweredAlways, ON_SCSI } from "./cd-commands.ts";
import { INQUIRY, INVALID_FIELD, NO_SENSE, REPORT_LUNS, REQUEST_SENSE } from "./commands.ts";
import {
  ANSWER,
  CHECK,
  type DataOut,
  LogicalUnit,
  putSense,
  READ,
  type UnitFacts,
  type UnitRegisters,
} from "./unit.ts";

export const CdUnitState = layout("scsi-cd", 1, {
  mediaSectors: "f64", // of 512 bytes; 0 without a medium
  isOn: "u8", // the registers say what is in the drive; 0 until they are first used
  trayOpen: "u8",
  locked: "u8",
  ejectWanted: "u8", // somebody pressed the button of a locked drive
  mediaEvent: "u8", // for GET EVENT STATUS NOTIFICATION
  attention: "u8", // the additional code of a unit attention of the medium
});

interface CdUnitFacts extends UnitFacts {
  /** When it is switched on. */
  readonly trayOpen?: boolean;
}

/** Bytes of one transfer, as of a disk. */
const TRANSFER_MAX = 2 ** 30;

export class CdUnit extends LogicalUnit {
  readonly #facts: CdUnitFacts;
  readonly #cd: ReturnType<typeof CdUnitState.view>;
  readonly #commands: CdCommands;

  constructor(facts: CdUnitFacts, regs: UnitRegisters, cd: ReturnType<typeof CdUnitState.view>) {
    super(facts, regs);
    this.#facts = facts;
    this.#cd = cd;
    this.#commands = new CdCommands(cd, this.buffer, ON_SCSI);
  }

  /** Another medium, of `bytes`, is in the drive. */
  insert(bytes: number): void {
    this.#switchOn();
    this.#commands.insert(bytes / SECTOR);
  }

  /** Somebody presses the button. @returns false if the guest has locked the drive: then it learns what is wanted */
  eject(force: boolean): boolean {
    this.#switchOn();
    return this.#commands.eject(force);
  }

  /** The medium stays as it is: SAM-5, 6.3.3. */
  override reset(): void {
    super.reset();
    this.#switchOn();
    this.#cd.locked = 0;
  }

  override execute(cdb: Uint8Array, data: DataOut, luns: readonly number[]): number {
    this.#switchOn();
    switch (cdb[0]) {
      case INQUIRY:
      case REPORT_LUNS:
        return super.execute(cdb, data, luns);
      case REQUEST_SENSE:
        if ((cdb[1] & 1) !== 0) return this.check(INVALID_FIELD);
        return this.answer(putSense(this.buffer, this.#takeAttention()), cdb[4]);
    }
    // That the unit was reset comes before what is new of its medium: SAM-5, 5.14.
    const { attention } = this.regs;
    if (attention !== NO_SENSE && !isAnsweredAlways(cdb[0])) {
      this.regs.attention = NO_SENSE;
      return this.check(attention);
    }
    return this.executeOwn(cdb);
  }

  protected override executeOwn(cdb: Uint8Array): number {
    const commands = this.#commands;
    const outcome = commands.execute(cdb);
    switch (outcome) {
      case CHECK:
        return this.check(commands.sense);
      case ANSWER:
        return this.answer(commands.length, commands.length);
      case READ:
        if (commands.isRaw) return this.check(INVALID_FIELD);
        this.offset = commands.lba * CD_BLOCK;
        this.bytes = commands.blocks * CD_BLOCK;
        return this.bytes > TRANSFER_MAX ? this.check(INVALID_FIELD) : READ;
      default:
        return outcome;
    }
  }

  #takeAttention(): number {
    const { attention } = this.regs;
    if (attention === NO_SENSE) return this.#commands.takeAttention();
    this.regs.attention = NO_SENSE;
    return attention;
  }

  #switchOn(): void {
    if (this.#cd.isOn !== 0) return;
    this.#cd.isOn = 1;
    this.#commands.powerOn(this.#facts.sectors, this.#facts.trayOpen === true);
  }
}

/** Whether the tray of a drive with these registers is open. @param wasOpen when it was switched on */
export function isTrayOpen(cd: ReturnType<typeof CdUnitState.view>, wasOpen: boolean): boolean {
  return cd.isOn === 0 ? wasOpen : cd.trayOpen !== 0;
}
