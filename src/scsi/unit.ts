/**
 * A logical unit: executes a command as far as no storage is needed for it, and says
 * what is to be done with the storage, if anything. All of it happens on the io thread.
 *
 * Source: SPC-4 (T10/1731-D); SAM-5, 5.14 (unit attention conditions).
 */
import { layout } from "../base/layout.ts";
import {
  INQUIRY,
  INVALID_FIELD,
  INVALID_OPERATION,
  NO_SENSE,
  NO_SUCH_UNIT,
  put32,
  REPORT_LUNS,
  REQUEST_SENSE,
  TEST_UNIT_READY,
  WAS_RESET,
} from "./commands.ts";
import { answerInquiry, type UnitIdentity } from "./inquiry.ts";

/** What becomes of a command. */
export const GOOD = 0;
/** `sense` says what was wrong. */
export const CHECK = 1;
/** `length` bytes of `buffer` are the answer. */
export const ANSWER = 2;
/** Transfers `bytes` from or to `offset`. */
export const READ = 3;
export const WRITE = 4;
export const FLUSH = 5;
/** Frees `ranges`. */
export const FREE = 6;
/** Makes `bytes` from `offset` on zero. */
export const ZERO = 7;

/** More than any answer has. */
const BUFFER_BYTES = 512;
/** Ranges of one UNMAP. */
const RANGES = 64;

/** Of one unit. Written by the io thread. */
export const UnitState = layout("scsi-unit", 1, {
  resized: "f64", // sectors, once the disk was resized; 0 before
  attention: "u32", // a unit attention that the next command reports; 0 for none
  writeCache: "u8", // a write may be in a cache when it completes
  locked: "u8",
});

export type UnitRegisters = ReturnType<typeof UnitState.view>;

/** Data that the initiator sent with a command. */
export interface DataOut {
  readonly readableBytes: number;
  takeReadable(into: Uint8Array, what: string): void;
}

/** What a unit is, as every thread knows it. */
export interface UnitFacts extends UnitIdentity {
  /** Of 512 bytes. */
  readonly sectors: number;
  readonly writeCache: boolean;
}

export abstract class LogicalUnit {
  readonly regs: UnitRegisters;
  readonly buffer = new Uint8Array(BUFFER_BYTES);
  /** Answers: bytes. */
  length = 0;
  sense = NO_SENSE;
  // The storage: where, how many bytes, whether a write has to be on stable storage, whether zeros may free storage.
  offset = 0;
  bytes = 0;
  isDurable = false;
  mayUnmap = false;
  /** Pairs of offset and bytes. */
  readonly ranges = new Float64Array(2 * RANGES);
  rangeCount = 0;
  readonly #facts: UnitFacts;

  constructor(facts: UnitFacts, regs: UnitRegisters) {
    this.#facts = facts;
    this.regs = regs;
  }

  protected abstract executeOwn(cdb: Uint8Array, data: DataOut): number;

  /** Of 512 bytes, now. */
  get sectors(): number {
    return this.regs.resized === 0 ? this.#facts.sectors : this.regs.resized;
  }

  reset(): void {
    this.regs.attention = WAS_RESET;
    this.regs.locked = 0;
    this.regs.writeCache = this.#facts.writeCache ? 1 : 0;
  }

  /** @param luns those of the target, in order */
  execute(cdb: Uint8Array, data: DataOut, luns: readonly number[]): number {
    this.length = 0;
    switch (cdb[0]) {
      case INQUIRY:
        return this.answerOr(answerInquiry(this.#facts, cdb, this.buffer), cdb[3] * 256 + cdb[4]);
      case REPORT_LUNS:
        return this.reportLuns(cdb, luns);
      case REQUEST_SENSE: {
        if ((cdb[1] & 1) !== 0) return this.check(INVALID_FIELD);
        const { attention } = this.regs;
        this.regs.attention = NO_SENSE;
        return this.answer(putSense(this.buffer, attention), cdb[4]);
      }
    }
    const { attention } = this.regs;
    if (attention !== NO_SENSE) {
      this.regs.attention = NO_SENSE;
      return this.check(attention);
    }
    return cdb[0] === TEST_UNIT_READY ? this.ready() : this.executeOwn(cdb, data);
  }

  protected ready(): number {
    return GOOD;
  }

  protected check(sense: number): number {
    this.sense = sense;
    return CHECK;
  }

  protected refuse(): number {
    return this.check(INVALID_OPERATION);
  }

  protected answer(bytes: number, most: number): number {
    this.length = Math.min(bytes, most);
    return ANSWER;
  }

  /** The same; a negative number means that the command asked for what there is not. */
  protected answerOr(bytes: number, most: number): number {
    return bytes < 0 ? this.check(INVALID_FIELD) : this.answer(bytes, most);
  }

  protected reportLuns(cdb: Uint8Array, luns: readonly number[]): number {
    const bytes = putLuns(this.buffer, luns, cdb[2]);
    return this.answerOr(bytes, ((cdb[6] << 24) | (cdb[7] << 16) | (cdb[8] << 8) | cdb[9]) >>> 0);
  }
}

/** In place of a unit that a target does not have: it says so, and which units there are. */
export class NoUnit extends LogicalUnit {
  override execute(cdb: Uint8Array, _data: DataOut, luns: readonly number[]): number {
    switch (cdb[0]) {
      case INQUIRY:
        this.buffer.fill(0, 0, 36);
        this.buffer[0] = 0x7f; // no device can be here
        this.buffer[2] = 5;
        this.buffer[3] = 2;
        this.buffer[4] = 31;
        return this.answer(36, cdb[3] * 256 + cdb[4]);
      case REPORT_LUNS:
        return this.reportLuns(cdb, luns);
      case REQUEST_SENSE:
        return this.answer(putSense(this.buffer, NO_SUCH_UNIT), cdb[4]);
      default:
        return this.check(NO_SUCH_UNIT);
    }
  }

  protected override executeOwn(): number {
    return this.refuse();
  }
}

/** Sense data in the fixed format: SPC-4, 4.5.3. */
export function putSense(bytes: Uint8Array, sense: number): number {
  bytes.fill(0, 0, SENSE_BYTES);
  bytes[0] = 0x70;
  bytes[2] = sense >>> 16;
  bytes[7] = SENSE_BYTES - 8;
  bytes[12] = (sense >>> 8) & 0xff;
  bytes[13] = sense & 0xff;
  return SENSE_BYTES;
}

export const SENSE_BYTES = 18;
const LUN_BYTES = 8;
/** The buffer has room for so many. */
const MAX_LUNS = BUFFER_BYTES / LUN_BYTES - 1;
const FLAT_ADDRESS = 0x40;
/** Units with well-known numbers, of which there are none. */
const WELL_KNOWN = 1;
const ALL = 2;

/** REPORT LUNS: SPC-4, 6.33. */
function putLuns(bytes: Uint8Array, luns: readonly number[], which: number): number {
  if (which > ALL) return -1;
  const shown = which === WELL_KNOWN ? 0 : Math.min(luns.length, MAX_LUNS);
  bytes.fill(0, 0, LUN_BYTES * (shown + 1));
  put32(bytes, 0, LUN_BYTES * shown);
  for (let n = 0; n < shown; n++) {
    const at = LUN_BYTES * (n + 1);
    bytes[at] = luns[n] < 256 ? 0 : FLAT_ADDRESS | (luns[n] >> 8);
    bytes[at + 1] = luns[n] & 0xff;
  }
  return LUN_BYTES * (shown + 1);
}
