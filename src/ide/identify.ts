/**
 * The answers to IDENTIFY DEVICE and IDENTIFY PACKET DEVICE: 256 words of what a
 * device can do and what is switched on. A CD drive also answers INQUIRY.
 *
 * Source: ATA/ATAPI-7 volume 1, 6.17 and 6.18; the geometry as in 6.2 of ATA-5.
 */
import { putText } from "../scsi/commands.ts";
import { TYPE_CD } from "../scsi/inquiry.ts";
import { LBA28_SECTORS, MAX_MULTIPLE } from "./ata.ts";
import type { DriveRegisters } from "./drive-state.ts";

const BYTES = 512;

/** What people see of a drive. */
export interface DriveNames {
  /** At most 20 characters of ASCII. */
  readonly serial: string;
  /** At most 40. */
  readonly model: string;
}

const FIRMWARE = "1.0";
const HEADS = 16;
const SECTORS_PER_TRACK = 63;
const MAX_CYLINDERS = 16383;

// Words 82 to 87: command sets.
const SET_SMART = 1 << 0;
const SET_WRITE_CACHE = 1 << 5;
const SET_LOOK_AHEAD = 1 << 6;
const SET_LBA48 = 1 << 10;
const SET_FLUSH = 1 << 12;
const SET_FLUSH_EXT = 1 << 13;
const SET_FUA = 1 << 6;
/** Bit 14 is one and bit 15 zero in a word that is valid. */
const VALID = 1 << 14;

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectors: number;
}

/** The cylinders, heads and sectors of a disk, as it describes itself. @param sectors of 512 bytes */
export function geometryOf(sectors: number): Geometry {
  const cylinders = Math.floor(sectors / (HEADS * SECTORS_PER_TRACK));
  return {
    cylinders: Math.min(MAX_CYLINDERS, Math.max(2, cylinders)),
    heads: HEADS,
    sectors: SECTORS_PER_TRACK,
  };
}

export interface DiskIdentity extends DriveNames {
  readonly blockSize: number;
}

/** Writes the answer of a disk to its buffer. */
export function identifyDisk(regs: DriveRegisters, identity: DiskIdentity): void {
  const { cylinders, heads, sectors } = geometryOf(regs.mediaSectors);
  const words = new Words(regs.buffer);
  const currentTrack = Math.max(1, regs.heads * regs.sectorsPerTrack);
  const currentCylinders = Math.min(65535, Math.floor(regs.mediaSectors / currentTrack));
  words.set(0, 0x0040); // a fixed disk
  words.set(1, cylinders);
  words.set(3, heads);
  words.set(6, sectors);
  words.text(10, 10, identity.serial);
  words.text(23, 4, FIRMWARE);
  words.text(27, 20, identity.model);
  words.set(47, 0x8000 | MAX_MULTIPLE);
  words.set(48, 1); // data by 4 bytes
  words.set(49, (1 << 11) | (1 << 9) | (1 << 8)); // IORDY, LBA, DMA
  words.set(50, VALID);
  words.set(51, 0x0200);
  words.set(53, 0b111); // words 54 to 58, 64 to 70 and 88 are valid
  words.set(54, currentCylinders);
  words.set(55, regs.heads);
  words.set(56, regs.sectorsPerTrack);
  words.set32(57, currentCylinders * currentTrack);
  words.set(59, regs.multiple === 0 ? 0 : 0x0100 | regs.multiple);
  words.set32(60, Math.min(regs.mediaSectors, LBA28_SECTORS - 1));
  transferModes(words, regs.transferMode);
  words.set(80, 0x00f0); // ATA-4 to ATA/ATAPI-7
  words.set(82, VALID | SET_LOOK_AHEAD | SET_WRITE_CACHE | SET_SMART);
  words.set(83, VALID | SET_FLUSH_EXT | SET_FLUSH | SET_LBA48);
  words.set(84, VALID | SET_FUA);
  const cache = regs.writeCache === 0 ? 0 : SET_WRITE_CACHE;
  const lookAhead = regs.lookAhead === 0 ? 0 : SET_LOOK_AHEAD;
  words.set(85, VALID | cache | lookAhead | (regs.smart === 0 ? 0 : SET_SMART));
  words.set(86, SET_FLUSH_EXT | SET_FLUSH | SET_LBA48);
  words.set(87, VALID | SET_FUA);
  words.set(93, VALID | (1 << 13) | 1); // found by jumper, with an 80-wire cable
  words.set32(100, regs.mediaSectors % 2 ** 32);
  words.set32(102, Math.floor(regs.mediaSectors / 2 ** 32));
  words.set(106, VALID | (identity.blockSize > 512 ? (1 << 13) | Math.log2(identity.blockSize / 512) : 0));
}

/** Writes the answer of a CD drive to its buffer. */
export function identifyCd(regs: DriveRegisters, names: DriveNames): void {
  const words = new Words(regs.buffer);
  words.set(0, 0x85c0); // ATAPI CD drive, removable, packets of 12 bytes, ready for them in 50 us
  words.text(10, 10, names.serial);
  words.text(23, 4, FIRMWARE);
  words.text(27, 20, names.model);
  words.set(48, 1);
  words.set(49, (1 << 11) | (1 << 9) | (1 << 8));
  words.set(53, 0b110);
  transferModes(words, regs.transferMode);
  words.set(71, 30); // us from a packet to the release of the bus
  words.set(72, 30);
  words.set(80, 0x00f0);
  words.set(82, VALID | (1 << 9) | (1 << 4)); // DEVICE RESET, packets
  words.set(83, VALID);
  words.set(84, VALID);
  words.set(85, (1 << 9) | (1 << 4));
  words.set(87, VALID);
  words.set(93, VALID | (1 << 13) | 1);
}

/** Words 62 to 68 and 88. The byte above a word's modes says which one is on. */
function transferModes(words: Words, mode: number): void {
  const chosen = (kind: number) => (mode >> 3 === kind ? 1 << (8 + (mode & 7)) : 0);
  words.set(63, 0x07 | chosen(4)); // multiword DMA 0 to 2
  words.set(64, 0x03); // PIO 3 and 4
  for (let word = 65; word <= 68; word++) words.set(word, 120); // ns of a cycle
  words.set(88, 0x3f | chosen(8)); // Ultra DMA 0 to 5
}

class Words {
  readonly #bytes: Uint8Array;

  constructor(buffer: Uint8Array) {
    this.#bytes = buffer;
    buffer.fill(0, 0, BYTES);
  }

  set(word: number, value: number): void {
    this.#bytes[2 * word] = value & 0xff;
    this.#bytes[2 * word + 1] = (value >>> 8) & 0xff;
  }

  set32(word: number, value: number): void {
    this.set(word, value % 65536);
    this.set(word + 1, Math.floor(value / 65536));
  }

  /** The first character of each word is in its high byte. */
  text(word: number, words: number, text: string): void {
    const padded = text.padEnd(2 * words);
    for (let i = 0; i < 2 * words; i++) this.#bytes[(2 * word + i) ^ 1] = padded.charCodeAt(i) & 0x7f;
  }
}

/** INQUIRY, as an ATAPI device answers it. @returns its bytes. Source: SFF-8020i, 10.8.1. */
export function inquiryOfCd(buffer: Uint8Array, { model }: DriveNames): number {
  buffer.fill(0, 0, 36);
  buffer[0] = TYPE_CD;
  buffer[1] = 0x80; // with a medium that can be removed
  buffer[3] = 0x21; // ATAPI, response format 1
  buffer[4] = 31;
  const space = model.indexOf(" ");
  putText(buffer, 8, 8, space < 0 ? model : model.slice(0, space));
  putText(buffer, 16, 16, space < 0 ? model : model.slice(space + 1));
  putText(buffer, 32, 4, FIRMWARE);
  return 36;
}
