/**
 * The `state` file of a snapshot: named sections, one after the other, each with
 * its version, length and checksum. A reader needs nothing that comes later, so
 * that the same sections can be sent as a stream.
 *
 * Source: docs/snapshot-format.md. All numbers are little-endian.
 */
import { crc32 } from "node:zlib";
import { SnapshotError } from "./snapshot-error.ts";

export interface Section {
  readonly name: string;
  /** Of what is inside: a layout's version, or 1. */
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** Of the file as a whole, machine.json included. */
export const FORMAT = 1;
/** Of a snapshot that continues another: who knows only FORMAT would take the pages that it lacks for zeros. */
export const CONTINUED_FORMAT = 2;

/** For messages. */
export const FORMATS_READ = `this version of vmexit reads formats ${FORMAT} and ${CONTINUED_FORMAT}`;

const MAGIC = "VMXSTATE";
const HEADER_BYTES = 16; // magic, format, zero

// The head of a section.
const NAME_LENGTH = 0; // u32
const VERSION = 4; // u32
const LENGTH = 8; // u64
const BYTES_CRC = 16; // u32, of the contents
const HEAD_CRC = 20; // u32, of the head before it and the name
const HEAD_BYTES = 24;

const ALIGNMENT = 8;
const MAX_NAME = 255;
/** The last section, and empty: a file without it was cut short. */
const END = "end";

/** The bytes of a whole file. */
export function encodeSections(sections: Iterable<Section>, format = FORMAT): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  header.set(Buffer.from(MAGIC));
  new DataView(header.buffer).setUint32(MAGIC.length, format, true);
  const pieces: Uint8Array[] = [header];
  for (const section of [...sections, { name: END, version: 1, bytes: new Uint8Array() }]) {
    pieces.push(encodeSection(section));
  }
  return Buffer.concat(pieces);
}

function encodeSection({ name, version, bytes }: Section): Uint8Array {
  const text = Buffer.from(name);
  if (text.length === 0 || text.length > MAX_NAME) {
    throw new RangeError(`"${name}" cannot be the name of a section: 1 to ${MAX_NAME} bytes`);
  }
  const piece = new Uint8Array(HEAD_BYTES + padded(text.length) + padded(bytes.length));
  const head = new DataView(piece.buffer);
  head.setUint32(NAME_LENGTH, text.length, true);
  head.setUint32(VERSION, version, true);
  head.setBigUint64(LENGTH, BigInt(bytes.length), true);
  head.setUint32(BYTES_CRC, crc32(bytes), true);
  head.setUint32(HEAD_CRC, crc32(text, crc32(piece.subarray(0, HEAD_CRC))), true);
  piece.set(text, HEAD_BYTES);
  piece.set(bytes, HEAD_BYTES + padded(text.length));
  return piece;
}

/**
 * The sections of a file, by name.
 *
 * @param given the bytes of a whole file; @param path for messages
 * @throws {SnapshotError} for a file that was cut short or altered, or is of another format
 */
export function decodeSections(given: Uint8Array, path: string): Map<string, Section> {
  const file = new Uint8Array(given.buffer, given.byteOffset, given.byteLength); // slice() of a Buffer is not a copy
  const data = new DataView(given.buffer, given.byteOffset, given.byteLength);
  if (file.length < HEADER_BYTES || Buffer.from(file.subarray(0, MAGIC.length)).toString() !== MAGIC) {
    throw new SnapshotError(path, "it is not the state of a machine");
  }
  const format = data.getUint32(MAGIC.length, true);
  if (format !== FORMAT && format !== CONTINUED_FORMAT) {
    throw new SnapshotError(path, `its format is ${format}; ${FORMATS_READ}`);
  }
  const sections = new Map<string, Section>();
  let at = HEADER_BYTES;
  for (;;) {
    const section = decodeSection(file, data, at, path);
    at += HEAD_BYTES + padded(Buffer.byteLength(section.name)) + padded(section.bytes.length);
    if (section.name === END) break;
    if (sections.has(section.name)) throw new SnapshotError(path, `it has two sections "${section.name}"`);
    sections.set(section.name, section);
  }
  if (at !== file.length)
    throw new SnapshotError(path, `it continues for ${file.length - at} bytes after its end`);
  return sections;
}

function decodeSection(file: Uint8Array, data: DataView, at: number, path: string): Section {
  const cut = () => new SnapshotError(path, "it was cut short");
  if (at + HEAD_BYTES > file.length) throw cut();
  const nameLength = data.getUint32(at + NAME_LENGTH, true);
  const length = Number(data.getBigUint64(at + LENGTH, true));
  const nameAt = at + HEAD_BYTES;
  const altered = () => new SnapshotError(path, `the head of a section at byte ${at} was altered`);
  if (nameLength === 0 || nameLength > MAX_NAME) throw altered();
  if (nameAt + padded(nameLength) > file.length) throw cut();
  const text = file.subarray(nameAt, nameAt + nameLength);
  const head = file.subarray(at, at + HEAD_CRC);
  if (crc32(text, crc32(head)) !== data.getUint32(at + HEAD_CRC, true)) throw altered();
  const name = Buffer.from(text).toString();
  const bytesAt = nameAt + padded(nameLength);
  if (bytesAt + padded(length) > file.length) throw cut();
  const bytes = file.subarray(bytesAt, bytesAt + length);
  if (crc32(bytes) !== data.getUint32(at + BYTES_CRC, true)) {
    throw new SnapshotError(path, `the section "${name}" was altered`);
  }
  return { name, version: data.getUint32(at + VERSION, true), bytes };
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
