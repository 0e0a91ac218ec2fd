/**
 * SMART: a disk that has never had a fault says so.
 *
 * Source: ATA/ATAPI-7 volume 1, 6.52 (SMART); structures as in SFF-8035i 2.0.
 */
import type { DriveRegisters } from "./drive-state.ts";

const READ_DATA = 0xd0;
const READ_THRESHOLDS = 0xd1;
const AUTOSAVE = 0xd2;
const OFFLINE_IMMEDIATE = 0xd4;
const READ_LOG = 0xd5;
const ENABLE = 0xd8;
const DISABLE = 0xd9;
const RETURN_STATUS = 0xda;

/** In the LBA registers: the command is meant. RETURN STATUS leaves it there if all is well. */
const KEY_MID = 0x4f;
const KEY_HIGH = 0xc2;

const BYTES = 512;
const LOG_SUMMARY = 0x01;
const LOG_SELF_TESTS = 0x06;

/** Identifier, flags, value, worst, threshold of each attribute. */
const ATTRIBUTES = [
  [1, 0x03, 100, 100, 6], // read error rate
  [5, 0x03, 100, 100, 36], // reallocated sectors
  [9, 0x03, 100, 100, 0], // power-on hours
  [12, 0x03, 100, 100, 0], // power cycles
  [194, 0x02, 100, 100, 0], // temperature
] as const;
const ATTRIBUTE_BYTES = 12;

/** @returns how many bytes of answer are in the buffer; -1 if the drive does not do that */
export function answerSmart(regs: DriveRegisters): number {
  if (regs.lbaMid !== KEY_MID || regs.lbaHigh !== KEY_HIGH) return -1;
  if (regs.smart === 0 && regs.feature !== ENABLE) return -1;
  switch (regs.feature) {
    case ENABLE:
    case DISABLE:
      regs.smart = regs.feature === ENABLE ? 1 : 0;
      return 0;
    case AUTOSAVE:
    case OFFLINE_IMMEDIATE:
    case RETURN_STATUS:
      return 0;
    case READ_DATA:
      return attributes(regs.buffer, false);
    case READ_THRESHOLDS:
      return attributes(regs.buffer, true);
    case READ_LOG:
      return log(regs);
    default:
      return -1;
  }
}

function attributes(buffer: Uint8Array, thresholds: boolean): number {
  buffer.fill(0, 0, BYTES);
  buffer[0] = 1; // version
  ATTRIBUTES.forEach(([id, flags, value, worst, threshold], n) => {
    const at = 2 + n * ATTRIBUTE_BYTES;
    buffer[at] = id;
    buffer[at + 1] = thresholds ? threshold : flags;
    if (thresholds) return;
    buffer[at + 3] = value;
    buffer[at + 4] = worst;
  });
  if (!thresholds) {
    buffer[368] = 0x03; // saves its attributes by itself and when it goes to sleep
    buffer[370] = 0x01; // has logs of errors
  }
  return seal(buffer);
}

/** Logs without entries. */
function log({ lbaLow, buffer }: DriveRegisters): number {
  buffer.fill(0, 0, BYTES);
  switch (lbaLow) {
    case 0: // the directory: one sector of each
      buffer[0] = 1;
      buffer[2 * LOG_SUMMARY] = 1;
      buffer[2 * LOG_SELF_TESTS] = 1;
      return BYTES;
    case LOG_SUMMARY:
    case LOG_SELF_TESTS:
      buffer[0] = 1;
      return seal(buffer);
    default:
      return -1;
  }
}

/** The last byte makes the sum of all zero. */
function seal(buffer: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < BYTES - 1; i++) sum += buffer[i];
  buffer[BYTES - 1] = -sum & 0xff;
  return BYTES;
}
