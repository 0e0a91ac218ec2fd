/**
 * The header of a VMDK sparse extent. All fields are checked here, once.
 * If the footer has the grain directory, the footer is read instead: such images are
 * written front to back.
 *
 * Source: VMware, Virtual Disk Format 5.0, "Hosted Sparse Extent Header" and
 * "Stream-Optimized Compressed Sparse Extents", whose names are used. All fields
 * are little endian; offsets and sizes are sectors of 512 bytes.
 */

import { SECTOR } from "../../base/units.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { MAX_PACKED_BLOCK } from "../read-only-image.ts";

const SPARSE_MAGICNUMBER = 0x564d444b; // "KDMV"
const COWD_MAGICNUMBER = 0x44574f43; // "COWD"

// Offsets of fields.
const VERSION = 4;
const FLAGS = 8;
const CAPACITY = 12;
const GRAIN_SIZE = 20;
const DESCRIPTOR_OFFSET = 28;
const DESCRIPTOR_SIZE = 36;
const NUM_GTES_PER_GT = 44;
const GD_OFFSET = 56;
const LINE_ENDS = 73; // singleEndLineChar, nonEndLineChar, doubleEndLineChar1 and 2
const COMPRESS_ALGORITHM = 77;

const MAX_VERSION = 3;
const FLAG_LINE_ENDS = 1 << 0;
const FLAG_ZERO_GRAIN = 1 << 2;
const FLAG_COMPRESSED = 1 << 16;
const FLAG_MARKERS = 1 << 17;
const COMPRESSION_NONE = 0;
const COMPRESSION_DEFLATE = 1;
const LINE_END_BYTES = [0x0a, 0x20, 0x0d, 0x0a];
/** The place of a grain directory that the footer has. */
const GD_AT_END = 0xffff_ffff_ffff_ffffn;

const MARKER_TYPE = 12;
const MARKER_FOOTER = 3;
/** Footer's marker, footer, marker of the end of the stream. */
const TAIL_BYTES = 3 * SECTOR;

const MAX_GRAIN_SECTORS = 2 ** 21;
const MAX_GTES_PER_GT = 512;
const MAX_GD_ENTRIES = 32 * 2 ** 20;
/** Bytes of a descriptor that are read, at most. */
const MAX_DESCRIPTOR = 2 ** 16;

export interface SparseHeader {
  /** Bytes of the disk. */
  readonly size: number;
  /** Bytes of a grain, a power of two. */
  readonly grainBytes: number;
  readonly numGTEsPerGT: number;
  /** Of the file, bytes. */
  readonly gdAt: number;
  readonly gdEntries: number;
  /** An entry of 1 means a grain of zeros. */
  readonly hasZeroGrains: boolean;
  readonly compressed: boolean;
  /** Each compressed grain begins with its length. */
  readonly hasMarkers: boolean;
}

export interface Extent {
  readonly header: SparseHeader;
  /** Text; empty if the extent has no descriptor. */
  readonly descriptor: string;
}

/** @throws {ImageError} for a file that is not such an extent, or cannot be used; {SystemError} */
export function readExtent(file: HostFile): Extent {
  const refuse = (why: string): never => {
    throw new ImageError(file.path, why);
  };
  const head = readSector(file, 0);
  if (head.getUint32(0, true) === COWD_MAGICNUMBER) {
    refuse("it is an extent of a disk of ESX (vmfsSparse), and not a disk by itself");
  }
  if (head.getUint32(0, true) !== SPARSE_MAGICNUMBER) refuse("this is not a VMDK image");
  const descriptor = readDescriptor(file, head, refuse);
  return { header: parseHeader(currentHeader(file, head, refuse), file.size, refuse), descriptor };
}

/** The header, or the footer in its place. */
function currentHeader(file: HostFile, head: DataView, refuse: (why: string) => never): DataView {
  if (head.getBigUint64(GD_OFFSET, true) !== GD_AT_END) return head;
  const tail = Math.ceil(file.size / SECTOR) * SECTOR - TAIL_BYTES;
  if (tail < SECTOR) refuse("it has no footer: it was cut off");
  const marker = readSector(file, tail);
  const footer = readSector(file, tail + SECTOR);
  if (
    marker.getUint32(MARKER_TYPE, true) !== MARKER_FOOTER ||
    footer.getUint32(0, true) !== SPARSE_MAGICNUMBER
  ) {
    refuse("it does not end with a footer: it was cut off, copy it anew");
  }
  if (footer.getBigUint64(GD_OFFSET, true) === GD_AT_END)
    refuse("its footer does not say where its tables are");
  return footer;
}

function parseHeader(view: DataView, fileSize: number, refuse: (why: string) => never): SparseHeader {
  const version = view.getUint32(VERSION, true);
  if (version < 1 || version > MAX_VERSION)
    refuse(`VMDK version ${version} is not supported; 1 to ${MAX_VERSION} are`);
  const flags = view.getUint32(FLAGS, true);
  if (
    (flags & FLAG_LINE_ENDS) !== 0 &&
    LINE_END_BYTES.some((byte, i) => view.getUint8(LINE_ENDS + i) !== byte)
  ) {
    refuse("line ends in it were changed, as a transfer in text mode does; copy it anew");
  }
  const algorithm = view.getUint16(COMPRESS_ALGORITHM, true);
  if (algorithm !== COMPRESSION_NONE && algorithm !== COMPRESSION_DEFLATE) {
    refuse(`compression algorithm ${algorithm} is not known`);
  }
  const compressed = algorithm === COMPRESSION_DEFLATE;
  if (((flags & FLAG_COMPRESSED) !== 0) !== compressed)
    refuse("its flags and compressAlgorithm contradict each other");
  const grainSize = Number(view.getBigUint64(GRAIN_SIZE, true));
  const most = compressed ? MAX_PACKED_BLOCK / SECTOR : MAX_GRAIN_SECTORS;
  if (grainSize < 1 || grainSize > most || !Number.isInteger(Math.log2(grainSize))) {
    refuse(`grains of ${grainSize} sectors; they have to be a power of two up to ${most}`);
  }
  const numGTEsPerGT = view.getUint32(NUM_GTES_PER_GT, true);
  if (numGTEsPerGT < 1 || numGTEsPerGT > MAX_GTES_PER_GT) {
    refuse(`grain tables of ${numGTEsPerGT} entries; the maximum is ${MAX_GTES_PER_GT}`);
  }
  const capacity = Number(view.getBigUint64(CAPACITY, true));
  const gdEntries = Math.ceil(capacity / (grainSize * numGTEsPerGT));
  if (gdEntries > MAX_GD_ENTRIES || !Number.isSafeInteger(capacity * SECTOR)) {
    refuse(`a disk of ${capacity} sectors, in ${gdEntries} grain tables; the maximum is ${MAX_GD_ENTRIES}`);
  }
  const gdAt = Number(view.getBigUint64(GD_OFFSET, true)) * SECTOR;
  if (gdAt === 0 || gdAt + 4 * gdEntries > fileSize) {
    refuse(`its grain directory is at offset ${gdAt}, which is not valid`);
  }
  return {
    size: capacity * SECTOR,
    grainBytes: grainSize * SECTOR,
    numGTEsPerGT,
    gdAt,
    gdEntries,
    hasZeroGrains: (flags & FLAG_ZERO_GRAIN) !== 0,
    compressed,
    hasMarkers: (flags & FLAG_MARKERS) !== 0,
  };
}

function readDescriptor(file: HostFile, head: DataView, refuse: (why: string) => never): string {
  const at = Number(head.getBigUint64(DESCRIPTOR_OFFSET, true)) * SECTOR;
  const length = Number(head.getBigUint64(DESCRIPTOR_SIZE, true)) * SECTOR;
  if (at === 0) return "";
  if (at + length > file.size) refuse(`its descriptor is at offset ${at}, which is not valid`);
  const bytes = Buffer.alloc(Math.min(length, MAX_DESCRIPTOR));
  const got = file.read(bytes, at);
  const end = bytes.indexOf(0);
  return bytes.toString("latin1", 0, end < 0 ? got : end);
}

/** Bytes beyond the end of the file are zero. */
function readSector(file: HostFile, at: number): DataView {
  const bytes = new Uint8Array(SECTOR);
  file.read(bytes, at);
  return new DataView(bytes.buffer);
}
