/**
 * Commands of disks and CD drives, and how a logical unit says what was wrong with one.
 *
 * Source: SPC-4 (T10/1731-D), 4.5 (sense data) and 6; SBC-3 (T10/1799-D), 5; MMC-3 (T10/1363D), table 70.
 */

// Operation codes.
export const TEST_UNIT_READY = 0x00;
export const REQUEST_SENSE = 0x03;
export const READ_6 = 0x08;
export const WRITE_6 = 0x0a;
export const SEEK_6 = 0x0b;
export const INQUIRY = 0x12;
export const MODE_SELECT_6 = 0x15;
export const RESERVE_6 = 0x16;
export const RELEASE_6 = 0x17;
export const MODE_SENSE_6 = 0x1a;
export const START_STOP_UNIT = 0x1b;
export const PREVENT_ALLOW = 0x1e;
export const READ_CAPACITY_10 = 0x25;
export const READ_10 = 0x28;
export const WRITE_10 = 0x2a;
export const SEEK_10 = 0x2b;
export const WRITE_AND_VERIFY_10 = 0x2e;
export const VERIFY_10 = 0x2f;
export const SYNCHRONIZE_CACHE_10 = 0x35;
export const WRITE_SAME_10 = 0x41;
export const UNMAP = 0x42;
export const READ_TOC = 0x43;
export const GET_CONFIGURATION = 0x46;
export const GET_EVENT_STATUS = 0x4a;
export const READ_DISC_INFORMATION = 0x51;
export const MODE_SELECT_10 = 0x55;
export const MODE_SENSE_10 = 0x5a;
export const READ_16 = 0x88;
export const WRITE_16 = 0x8a;
export const WRITE_AND_VERIFY_16 = 0x8e;
export const VERIFY_16 = 0x8f;
export const SYNCHRONIZE_CACHE_16 = 0x91;
export const WRITE_SAME_16 = 0x93;
export const SERVICE_ACTION_IN_16 = 0x9e;
export const READ_CAPACITY_16 = 0x10;
export const REPORT_LUNS = 0xa0;
export const READ_12 = 0xa8;
export const WRITE_12 = 0xaa;
export const WRITE_AND_VERIFY_12 = 0xae;
export const VERIFY_12 = 0xaf;
export const SET_SPEED = 0xbb;
export const MECHANISM_STATUS = 0xbd;
export const READ_CD = 0xbe;

/** Sense key, additional code and its qualifier in one number. */
export const NO_SENSE = 0x00_00_00;
export const NO_MEDIUM_TRAY_CLOSED = 0x02_3a_01;
export const NO_MEDIUM_TRAY_OPEN = 0x02_3a_02;
export const UNRECOVERED_READ = 0x03_11_00;
export const WRITE_ERROR = 0x03_0c_00;
export const PARAMETER_LENGTH = 0x05_1a_00;
export const INVALID_OPERATION = 0x05_20_00;
export const OUT_OF_RANGE = 0x05_21_00;
export const INVALID_FIELD = 0x05_24_00;
export const NO_SUCH_UNIT = 0x05_25_00;
export const INVALID_PARAMETER = 0x05_26_00;
export const SAVING_NOT_SUPPORTED = 0x05_39_00;
export const REMOVAL_PREVENTED = 0x05_53_02;
export const MEDIUM_CHANGED = 0x06_28_00;
export const WAS_RESET = 0x06_29_00;
export const CAPACITY_CHANGED = 0x06_2a_09;
export const WRITE_PROTECTED = 0x07_27_00;
export const NO_SPACE = 0x07_27_07;

export function u16(bytes: Uint8Array, at: number): number {
  return bytes[at] * 256 + bytes[at + 1];
}

export function u24(bytes: Uint8Array, at: number): number {
  return bytes[at] * 65536 + u16(bytes, at + 1);
}

export function u32(bytes: Uint8Array, at: number): number {
  return u16(bytes, at) * 65536 + u16(bytes, at + 2);
}

/** Exact up to 2^53; above, the number is too large for any place on a disk, as it should be. */
export function u64(bytes: Uint8Array, at: number): number {
  return u32(bytes, at) * 2 ** 32 + u32(bytes, at + 4);
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >>> 8) & 0xff;
  bytes[at + 1] = value & 0xff;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}

export function put64(bytes: Uint8Array, at: number, value: number): void {
  put32(bytes, at, Math.floor(value / 2 ** 32));
  put32(bytes, at + 4, value % 2 ** 32);
}

/** Text of a fixed length, filled up with blanks. */
export function putText(bytes: Uint8Array, at: number, length: number, text: string): void {
  for (let i = 0; i < length; i++) bytes[at + i] = i < text.length ? text.charCodeAt(i) & 0x7f : 0x20;
}
