/**
 * What a CD drive answers: structures in its buffer. Each function returns their
 * length, or -1 if the command asks for what the drive does not have.
 *
 * Source: MMC-3 (T10/1363D), section 5 (features, mode pages) and 6 (commands).
 */
import { put16, put32 } from "./commands.ts";

/** Bytes of a block's data, and of all that is stored of a block on a CD. */
export const CD_BLOCK = 2048;
export const CD_RAW_BLOCK = 2352;

/** The tray and the medium. */
export interface CdRegisters {
  /** Of 512 bytes; 0 without a medium. */
  mediaSectors: number;
  trayOpen: number;
  locked: number;
  /** The button of a locked drive was pressed. */
  ejectWanted: number;
  /** For GET EVENT STATUS NOTIFICATION. */
  mediaEvent: number;
  /** The additional code of a unit attention that the next command reports; 0 for none. */
  attention: number;
}

/** Blocks of 80 minutes: a larger medium is a DVD. */
const CD_MAX_BLOCKS = 80 * 60 * 75;
const FRAMES = 75;
/** Two seconds come before block 0. */
const LEAD_IN = 2 * FRAMES;
const LEAD_OUT = 0xaa;
/** A data track: ADR 1, control 4. */
const DATA_TRACK = 0x14;

const PROFILE_CD = 0x0008;
const PROFILE_DVD = 0x0010;

const MEDIA_CLASS = 4;
const PAGE_ERRORS = 0x01;
const PAGE_CAPABILITIES = 0x2a;
const PAGE_ALL = 0x3f;

/** READ CAPACITY. */
export function capacity(buffer: Uint8Array, blocks: number): number {
  put32(buffer, 0, Math.min(blocks - 1, 0xffff_ffff));
  put32(buffer, 4, CD_BLOCK);
  return 8;
}

/** One session with one track. */
export function tableOfContents(packet: Uint8Array, buffer: Uint8Array, blocks: number): number {
  const msf = (packet[1] & 2) !== 0;
  const format = packet[2] & 0x0f || packet[9] >> 6; // where SFF-8020i has it
  const start = packet[6];
  switch (format) {
    case 0: {
      if (start > 1 && start !== LEAD_OUT) return -1;
      buffer[2] = 1;
      buffer[3] = 1;
      let length = 4;
      if (start <= 1) length = track(buffer, length, 1, 0, msf);
      length = track(buffer, length, LEAD_OUT, blocks, msf);
      return withLength(buffer, length);
    }
    case 1:
      buffer[2] = 1;
      buffer[3] = 1;
      track(buffer, 4, 1, 0, msf);
      return withLength(buffer, 12);
    case 2: {
      buffer[2] = 1;
      buffer[3] = 1;
      let length = 4;
      for (const [point, block] of [
        [0xa0, -1],
        [0xa1, -1],
        [0xa2, blocks],
        [1, 0],
      ]) {
        buffer.fill(0, length, length + 11);
        buffer[length] = 1; // session
        buffer[length + 1] = DATA_TRACK;
        buffer[length + 3] = point;
        if (block < 0)
          buffer[length + 8] = 1; // the number of the first, or last, track
        else time(buffer, length + 7, block);
        length += 11;
      }
      return withLength(buffer, length);
    }
    default:
      return -1;
  }
}

/**
 * GET CONFIGURATION.
 *
 * @param blocks 0 without a medium
 * @param transport how the drive is connected: MMC-3, table 79
 */
export function features(packet: Uint8Array, buffer: Uint8Array, blocks: number, transport: number): number {
  const kind = packet[1] & 3;
  if (kind === 3) return -1;
  const first = packet[2] * 256 + packet[3];
  const profile = blocks === 0 ? 0 : blocks > CD_MAX_BLOCKS ? PROFILE_DVD : PROFILE_CD;
  buffer.fill(0, 0, 8);
  buffer[6] = profile >> 8;
  buffer[7] = profile & 0xff;
  let length = 8;
  for (const { code, version, isCurrent, data } of [
    { code: 0, version: 0, isCurrent: true, data: profiles(profile) },
    { code: 1, version: 0, isCurrent: true, data: [0, 0, 0, transport] }, // core
    { code: 3, version: 0, isCurrent: true, data: [0x29, 0, 0, 0] }, // tray, can be ejected and locked
    { code: 0x10, version: 0, isCurrent: profile !== 0, data: [0, 0, 8, 0, 0, 16, 0, 0] }, // random reads
    { code: 0x1e, version: 0, isCurrent: profile === PROFILE_CD, data: [] }, // reads CDs
    { code: 0x1f, version: 0, isCurrent: profile === PROFILE_DVD, data: [] }, // reads DVDs
  ]) {
    const wanted = kind === 2 ? code === first : code >= first && (kind === 0 || isCurrent);
    if (!wanted) continue;
    buffer[length] = code >> 8;
    buffer[length + 1] = code & 0xff;
    buffer[length + 2] = (version << 2) | (code < 4 ? 2 : 0) | (isCurrent ? 1 : 0);
    buffer[length + 3] = data.length;
    data.forEach((byte, n) => {
      buffer[length + 4 + n] = byte;
    });
    length += 4 + data.length;
  }
  put32(buffer, 0, length - 4);
  return length;
}

/** GET EVENT STATUS NOTIFICATION. Only polling, and only events of the medium. */
export function eventStatus(packet: Uint8Array, buffer: Uint8Array, regs: CdRegisters): number {
  if ((packet[1] & 1) === 0) return -1;
  const isWanted = (packet[4] & (1 << MEDIA_CLASS)) !== 0;
  buffer[0] = 0;
  buffer[1] = isWanted ? 6 : 2;
  buffer[2] = isWanted ? MEDIA_CLASS : 0x80; // no such event
  buffer[3] = 1 << MEDIA_CLASS;
  if (!isWanted) return 4;
  buffer[4] = regs.mediaEvent;
  buffer[5] = (regs.trayOpen === 0 ? 0 : 1) | (regs.mediaSectors > 0 ? 2 : 0);
  buffer[6] = 0;
  buffer[7] = 0;
  regs.mediaEvent = 0;
  return 8;
}

export function discInformation(packet: Uint8Array, buffer: Uint8Array): number {
  if ((packet[1] & 7) !== 0) return -1;
  buffer.fill(0, 0, 34);
  buffer[1] = 32;
  buffer[2] = 0x0e; // the last session is complete, and the disc is finished
  buffer[3] = 1;
  buffer[4] = 1;
  buffer[5] = 1;
  buffer[6] = 1;
  buffer[7] = 0x20; // for any use
  return 34;
}

/** MODE SENSE. @param isLong of 10 bytes, with the longer header */
export function modePages(
  packet: Uint8Array,
  buffer: Uint8Array,
  { locked }: CdRegisters,
  isLong: boolean,
): number {
  const header = isLong ? 8 : 4;
  const page = packet[2] & 0x3f;
  const wantsZeros = packet[2] >> 6 === 1; // which values could be changed: none
  buffer.fill(0, 0, 64);
  let length = header;
  if (page === PAGE_ERRORS || page === PAGE_ALL) {
    buffer[length] = PAGE_ERRORS;
    buffer[length + 1] = 6;
    if (!wantsZeros) buffer[length + 3] = 5; // retries
    length += 8;
  }
  if (page === PAGE_CAPABILITIES || page === PAGE_ALL) {
    buffer[length] = PAGE_CAPABILITIES;
    buffer[length + 1] = 18;
    if (!wantsZeros) capabilities(buffer, length, locked);
    length += 20;
  }
  if (length === header) return -1;
  if (isLong) put16(buffer, 0, length - 2);
  else buffer[0] = length - 1;
  buffer[isLong ? 2 : 1] = 0x70; // the obsolete medium type: nothing said
  return length;
}

export function mechanismStatus(buffer: Uint8Array, { trayOpen }: CdRegisters): number {
  buffer.fill(0, 0, 8);
  buffer[1] = trayOpen === 0 ? 0 : 0x10;
  buffer[5] = 1;
  return 8;
}

/** Gives each block what is stored around it on a CD: sync, header, and zeros for its error correction. */
export function toRawBlocks(buffer: Uint8Array, lba: number, blocks: number): void {
  for (let n = blocks - 1; n >= 0; n--) {
    const to = n * CD_RAW_BLOCK;
    buffer.copyWithin(to + 16, n * CD_BLOCK, (n + 1) * CD_BLOCK);
    buffer.fill(0xff, to + 1, to + 11);
    buffer[to] = 0;
    buffer[to + 11] = 0;
    const frames = lba + n + LEAD_IN;
    buffer[to + 12] = bcd(Math.floor(frames / (60 * FRAMES)));
    buffer[to + 13] = bcd(Math.floor(frames / FRAMES) % 60);
    buffer[to + 14] = bcd(frames % FRAMES);
    buffer[to + 15] = 1; // mode 1
    buffer.fill(0, to + 16 + CD_BLOCK, to + CD_RAW_BLOCK);
  }
}

function profiles(current: number): number[] {
  return [PROFILE_DVD, PROFILE_CD].flatMap((profile) => [
    profile >> 8,
    profile & 0xff,
    profile === current ? 1 : 0,
    0,
  ]);
}

function capabilities(buffer: Uint8Array, at: number, locked: number): void {
  buffer[at + 2] = 0x3b; // reads CD-R, CD-RW and DVD
  buffer[at + 4] = 0x70; // mode 2, and several sessions
  buffer[at + 6] = 0x29 | (locked === 0 ? 0 : 2); // a tray that can be locked and ejected
  put16(buffer, at + 8, 706); // kB/s
  put16(buffer, at + 10, 2);
  put16(buffer, at + 12, 512); // KiB of buffer
  put16(buffer, at + 14, 706);
}

/** A descriptor of a track; returns where the next one is. */
function track(buffer: Uint8Array, at: number, number: number, block: number, msf: boolean): number {
  buffer.fill(0, at, at + 8);
  buffer[at + 1] = DATA_TRACK;
  buffer[at + 2] = number;
  if (msf) time(buffer, at + 4, block);
  else put32(buffer, at + 4, block);
  return at + 8;
}

/** A block's address as a zero byte, minutes, seconds and frames. */
function time(buffer: Uint8Array, at: number, block: number): void {
  const frames = block + LEAD_IN;
  buffer[at] = 0;
  buffer[at + 1] = Math.min(255, Math.floor(frames / (60 * FRAMES)));
  buffer[at + 2] = Math.floor(frames / FRAMES) % 60;
  buffer[at + 3] = frames % FRAMES;
}

function withLength(buffer: Uint8Array, length: number): number {
  put16(buffer, 0, length - 2);
  return length;
}

function bcd(value: number): number {
  return ((Math.floor(value / 10) % 10) << 4) | (value % 10);
}
