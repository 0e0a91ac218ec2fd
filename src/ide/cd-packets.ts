/**
 * Packets of a CD drive: their operations, and how the drive says what was wrong with one.
 *
 * Source: MMC-3 (T10/1363D), section 6; SPC-2, 7.20 (sense keys and additional codes).
 */
// Operation codes: MMC-3, table 70.
export const TEST_UNIT_READY = 0x00;
export const REQUEST_SENSE = 0x03;
export const INQUIRY = 0x12;
export const START_STOP_UNIT = 0x1b;
export const PREVENT_ALLOW = 0x1e;
export const READ_CAPACITY = 0x25;
export const READ_10 = 0x28;
export const SEEK = 0x2b;
export const READ_TOC = 0x43;
export const GET_CONFIGURATION = 0x46;
export const GET_EVENT_STATUS = 0x4a;
export const READ_DISC_INFORMATION = 0x51;
export const MODE_SENSE = 0x5a;
export const READ_12 = 0xa8;
export const SET_SPEED = 0xbb;
export const MECHANISM_STATUS = 0xbd;
export const READ_CD = 0xbe;

export const NOT_READY = 0x02;
export const MEDIUM_ERROR = 0x03;
export const ILLEGAL_REQUEST = 0x05;
export const UNIT_ATTENTION = 0x06;

export const ASC_UNRECOVERED_READ = 0x11;
export const ASC_INVALID_OPERATION = 0x20;
export const ASC_OUT_OF_RANGE = 0x21;
export const ASC_INVALID_FIELD = 0x24;
export const ASC_MEDIUM_CHANGED = 0x28;
export const ASC_SAVING_NOT_SUPPORTED = 0x39;
export const ASC_NO_MEDIUM = 0x3a;
export const ASC_REMOVAL_PREVENTED = 0x53;
export const ASCQ_REMOVAL_PREVENTED = 0x02;

/** Commands that do not report a unit attention: MMC-3, 4.1.6 with SPC-2, 5.6.2. */
export function isAnsweredAlways(operation: number): boolean {
  switch (operation) {
    case REQUEST_SENSE:
    case INQUIRY:
    case GET_CONFIGURATION:
    case GET_EVENT_STATUS:
      return true;
    default:
      return false;
  }
}

export function needsMedium(operation: number): boolean {
  switch (operation) {
    case TEST_UNIT_READY:
    case READ_CAPACITY:
    case READ_10:
    case READ_12:
    case READ_CD:
    case SEEK:
    case READ_TOC:
    case READ_DISC_INFORMATION:
      return true;
    default:
      return false;
  }
}

export function u16(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

export function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 65536 + u16(bytes, at + 2);
}
