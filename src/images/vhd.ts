/**
 * VHD images ("vpc" to QEMU) of Virtual PC, Hyper-V and Azure: a fixed one is the
 * raw disk with a footer behind it; a dynamic one has a copy of the footer first,
 * then a header and a table of blocks.
 *
 * Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0 (October
 * 2006), whose names are used. All fields are big endian.
 *
 * A block begins with a bitmap of its sectors, which is ignored, as by QEMU: sectors of
 * a dynamic disk that were never written contain zeros anyway.
 *
 * Not supported: differencing disks, which need another file.
 */

import { SECTOR } from "../base/units.ts";
import { ImageError } from "../disk/image-error.ts";
import type { HostFile } from "../sys/file.ts";
import { type BlockTable, ZERO } from "./block-map.ts";
import type { ReadOnlyParts } from "./read-only-image.ts";
import { TablePages } from "./table-pages.ts";

const FOOTER_BYTES = 512;
const FOOTER_COOKIE = "conectix";
const DATA_OFFSET = 16;
const CREATOR_APPLICATION = 28;
const CURRENT_SIZE = 48;
const DISK_GEOMETRY = 56; // cylinders, 2 bytes; heads; sectors of a track
const DISK_TYPE = 60;
const FOOTER_CHECKSUM = 64;

const DISK_TYPE_FIXED = 2;
const DISK_TYPE_DYNAMIC = 3;
const DISK_TYPE_DIFFERENCING = 4;

const HEADER_BYTES = 1024;
const HEADER_COOKIE = "cxsparse";
const TABLE_OFFSET = 16;
const MAX_TABLE_ENTRIES = 28;
const BLOCK_SIZE = 32;
const HEADER_CHECKSUM = 36;

const UNUSED_ENTRY = 0xffff_ffff;
/** 2040 GiB: the limit of what entries can point to. */
const MAX_SECTORS = 0xff00_0000;
const MAX_GEOMETRY_SECTORS = 65535 * 16 * 255;
/**
 * Programs that give a disk as many sectors as its geometry has: Virtual PC, and QEMU as
 * long as it wrote as Virtual PC does. All others mean Current Size, as the specification
 * does: "win " (Hyper-V), "wa" (Azure), "vbox", "vs  " (Virtual Server), "d2v " (disk2vhd),
 * "qem2" and "CTXS" among them. QEMU 11.1 knows the same two; 7.2 took the geometry of all but five programs.
 */
const GEOMETRY_IS_MEANT = ["vpc ", "qemu"];

/** True if a file begins as dynamic images do. Fixed ones begin as the disk in them does. */
export function looksLikeVhd(head: Uint8Array): boolean {
  return text(head, 0, FOOTER_COOKIE.length) === FOOTER_COOKIE;
}

/** @throws {ImageError} for a file that is not such an image, or cannot be used; {SystemError} */
export function openVhd(file: HostFile, cacheBytes: number): ReadOnlyParts {
  const refuse = (why: string): never => {
    throw new ImageError(file.path, why);
  };
  const footer = readFooter(file);
  const view = new DataView(footer.buffer);
  const size = diskSize(footer);
  if (size > MAX_SECTORS * SECTOR) refuse(`a disk of ${size} bytes; the maximum is ${MAX_SECTORS * SECTOR}`);
  const type = view.getUint32(DISK_TYPE);
  if (type === DISK_TYPE_FIXED) {
    return {
      format: "vpc",
      size,
      table: { blockSize: Math.max(SECTOR, size), alike: 1, hostOf: () => 0 },
      clusterSize: undefined,
      isSparselyStored: true,
    };
  }
  if (type === DISK_TYPE_DIFFERENCING) {
    refuse("it is a differencing disk, which depends on another file; merge the two files first");
  }
  if (type !== DISK_TYPE_DYNAMIC) refuse(`disks of type ${type} are not known; fixed and dynamic ones are`);
  const header = new Uint8Array(HEADER_BYTES);
  const headerView = new DataView(header.buffer);
  const headerAt = Number(view.getBigUint64(DATA_OFFSET));
  if (
    headerAt + HEADER_BYTES > file.size ||
    file.read(header, headerAt) < HEADER_BYTES ||
    text(header, 0, HEADER_COOKIE.length) !== HEADER_COOKIE
  ) {
    refuse(`its header is not at offset ${headerAt}, where the footer says that it is`);
  }
  if (!checksumIsRight(header, HEADER_CHECKSUM)) refuse("the checksum of its header is wrong");
  const blockSize = headerView.getUint32(BLOCK_SIZE);
  if (blockSize < SECTOR || !Number.isInteger(Math.log2(blockSize))) {
    refuse(`blocks of ${blockSize} bytes; they have to be a power of two from 512 on`);
  }
  const entries = headerView.getUint32(MAX_TABLE_ENTRIES);
  if (entries * blockSize < size) refuse(`a disk of ${size} bytes in ${entries} blocks of ${blockSize}`);
  const tableAt = Number(headerView.getBigUint64(TABLE_OFFSET));
  if (tableAt % SECTOR !== 0 || tableAt + 4 * entries > file.size) {
    refuse(`its table of ${entries} blocks is at offset ${tableAt}, which is not valid`);
  }
  const pages = new TablePages(file, 4 * Math.ceil(size / blockSize), cacheBytes);
  return {
    format: "vpc",
    size,
    table: new BlockAllocationTable(pages, tableAt, blockSize),
    clusterSize: blockSize,
  };
}

class BlockAllocationTable implements BlockTable {
  readonly blockSize: number;
  readonly alike = 1;
  readonly #pages: TablePages;
  readonly #offset: number;
  readonly #bitmapBytes: number;

  constructor(pages: TablePages, offset: number, blockSize: number) {
    this.blockSize = blockSize;
    this.#pages = pages;
    this.#offset = offset;
    this.#bitmapBytes = Math.ceil(blockSize / SECTOR / 8 / SECTOR) * SECTOR;
  }

  hostOf(block: number): number {
    const entry = this.#pages.uint32BigEndian(this.#offset + 4 * block);
    return entry === UNUSED_ENTRY ? ZERO : entry * SECTOR + this.#bitmapBytes;
  }
}

/**
 * The first whole one of the copy at the beginning, which a fixed disk does not have, and the footer itself.
 * Before Virtual PC 2004 a footer had 511 bytes.
 */
function readFooter(file: HostFile): Uint8Array<ArrayBuffer> {
  const { size } = file;
  let isVhd = false;
  for (const at of [0, size - FOOTER_BYTES, size - FOOTER_BYTES + 1]) {
    const footer = new Uint8Array(FOOTER_BYTES);
    if (at < 0 || file.read(footer, at) < FOOTER_BYTES - 1 || !looksLikeVhd(footer)) continue;
    if (checksumIsRight(footer, FOOTER_CHECKSUM)) return footer;
    isVhd = true;
  }
  throw new ImageError(file.path, isVhd ? "the checksum of its footer is wrong" : "this is not a VHD image");
}

function diskSize(footer: Uint8Array<ArrayBuffer>): number {
  const view = new DataView(footer.buffer);
  const sectors =
    view.getUint16(DISK_GEOMETRY) * view.getUint8(DISK_GEOMETRY + 2) * view.getUint8(DISK_GEOMETRY + 3);
  const isMeant = GEOMETRY_IS_MEANT.includes(text(footer, CREATOR_APPLICATION, 4));
  if (isMeant && sectors !== MAX_GEOMETRY_SECTORS) return sectors * SECTOR;
  return Math.floor(Number(view.getBigUint64(CURRENT_SIZE)) / SECTOR) * SECTOR;
}

/** The complement of the sum of all other bytes. */
function checksumIsRight(bytes: Uint8Array<ArrayBuffer>, at: number): boolean {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) if (i < at || i >= at + 4) sum += bytes[i];
  return new DataView(bytes.buffer).getUint32(at) === ~sum >>> 0;
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}
