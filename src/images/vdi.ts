/**
 * VDI images of VirtualBox: a header, a table of blocks, blocks of 1 MiB.
 *
 * Source: VirtualBox src/VBox/Storage/VDICore.h (VDIPREHEADER, VDIHEADER1PLUS),
 * whose names are used. All fields are little endian.
 *
 * Not supported: version 0.x; blocks of another size, or with extra data; undo and
 * differencing images, which need an image that is known only by its UUID.
 */

import { SECTOR } from "../base/units.ts";
import { ImageError } from "../disk/image-error.ts";
import type { HostFile } from "../sys/file.ts";
import { type BlockTable, ZERO } from "./block-map.ts";
import type { ReadOnlyParts, TableCheck } from "./read-only-image.ts";
import { TablePages } from "./table-pages.ts";

const VDI_IMAGE_SIGNATURE = 0xbeda107f;
const VDI_IMAGE_VERSION = 0x0001_0001;

// Offsets of fields.
const U32_SIGNATURE = 64;
const U32_VERSION = 68;
const U32_TYPE = 76;
const OFF_BLOCKS = 340;
const OFF_DATA = 344;
const CB_SECTOR = 360;
const CB_DISK = 368;
const CB_BLOCK = 376;
const CB_BLOCK_EXTRA = 380;
const C_BLOCKS = 384;
const C_BLOCKS_ALLOCATED = 388;
const UUID_LINKAGE = 424;
const UUID_PARENT_MODIFY = 440;
const UUID_BYTES = 16;

const VDI_IMAGE_TYPE_NORMAL = 1;
const VDI_IMAGE_TYPE_FIXED = 2;
const TYPES = new Map([
  [3, "an undo image"],
  [4, "a differencing image"],
]);

const BLOCK_BYTES = 2 ** 20;
/** Of a disk, as QEMU has it: with their table below 4 GiB. */
const MAX_BLOCKS = 0x3fff_ffff;
/** Entries from here on are not blocks: one means never written, one means discarded. */
const VDI_IMAGE_BLOCK_ZERO = 0xffff_fffe;

/** True if a file has the magic of these images. */
export function looksLikeVdi(head: Uint8Array): boolean {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return head.length >= SECTOR && view.getUint32(U32_SIGNATURE, true) === VDI_IMAGE_SIGNATURE;
}

/** @throws {ImageError} for a file that is not such an image, or cannot be used; {SystemError} */
export function openVdi(file: HostFile, cacheBytes: number): ReadOnlyParts {
  const refuse = (why: string): never => {
    throw new ImageError(file.path, why);
  };
  const head = new Uint8Array(SECTOR);
  if (file.read(head, 0) < SECTOR || !looksLikeVdi(head)) refuse("this is not a VDI image");
  const view = new DataView(head.buffer);
  const field = (at: number) => view.getUint32(at, true);
  const version = field(U32_VERSION);
  if (version !== VDI_IMAGE_VERSION) {
    refuse(`VDI version ${version >>> 16}.${version & 0xffff} is not supported; 1.1 is`);
  }
  const type = field(U32_TYPE);
  const isLinked = [UUID_LINKAGE, UUID_PARENT_MODIFY].some((at) =>
    head.subarray(at, at + UUID_BYTES).some((byte) => byte !== 0),
  );
  if (isLinked || (type !== VDI_IMAGE_TYPE_NORMAL && type !== VDI_IMAGE_TYPE_FIXED)) {
    const what = TYPES.get(type) ?? (isLinked ? "part of a chain of snapshots" : `of type ${type}`);
    refuse(`it is ${what}; clone it to a whole one with \`VBoxManage clonemedium\``);
  }
  if (field(CB_SECTOR) !== SECTOR) refuse(`sectors of ${field(CB_SECTOR)} bytes; they have to be of 512`);
  if (field(CB_BLOCK) !== BLOCK_BYTES || field(CB_BLOCK_EXTRA) !== 0) {
    refuse(`blocks of ${field(CB_BLOCK)} + ${field(CB_BLOCK_EXTRA)} bytes; only 1 MiB is supported`);
  }
  const offBlocks = field(OFF_BLOCKS);
  const offData = field(OFF_DATA);
  if (offBlocks % SECTOR !== 0 || offData % SECTOR !== 0) {
    refuse(`its parts begin at ${offBlocks} and ${offData}, which are not multiples of 512`);
  }
  const blocks = field(C_BLOCKS);
  const size = Math.ceil(Number(view.getBigUint64(CB_DISK, true)) / SECTOR) * SECTOR;
  if (blocks > MAX_BLOCKS || size > blocks * BLOCK_BYTES) {
    refuse(`a disk of ${size} bytes in ${blocks} blocks of 1 MiB`);
  }
  if (offBlocks + 4 * blocks > file.size) refuse("its table of blocks reaches beyond the end of the file");
  const table = new VdiTable(new TablePages(file, 4 * blocks, cacheBytes), offBlocks, offData);
  return {
    format: "vdi",
    size,
    table,
    clusterSize: BLOCK_BYTES,
    isSparselyStored: type === VDI_IMAGE_TYPE_FIXED,
    check: (report) => checkTable(table, blocks, field(C_BLOCKS_ALLOCATED), report),
  };
}

class VdiTable implements BlockTable {
  readonly blockSize = BLOCK_BYTES;
  readonly alike = 1;
  readonly #pages: TablePages;
  readonly #offBlocks: number;
  readonly #offData: number;

  constructor(pages: TablePages, offBlocks: number, offData: number) {
    this.#pages = pages;
    this.#offBlocks = offBlocks;
    this.#offData = offData;
  }

  entry(block: number): number {
    return this.#pages.uint32(this.#offBlocks + 4 * block);
  }

  hostOf(block: number): number {
    const entry = this.entry(block);
    return entry >= VDI_IMAGE_BLOCK_ZERO ? ZERO : this.#offData + entry * BLOCK_BYTES;
  }
}

/** Each block once, none behind the last, and as many as the header says. In QEMU's words (block/vdi.c). */
function checkTable(
  table: VdiTable,
  blocks: number,
  wanted: number,
  report: (line: string) => void,
): TableCheck {
  const used = new Uint8Array(Math.ceil(blocks / 8));
  let allocated = 0;
  let corruptions = 0;
  const wrong = (line: string) => {
    report(`ERROR: ${line}`);
    corruptions++;
  };
  for (let block = 0; block < blocks; block++) {
    const entry = table.entry(block);
    if (entry >= VDI_IMAGE_BLOCK_ZERO) continue;
    if (entry >= blocks) {
      wrong(`block index ${block} too large, is ${entry}`);
      continue;
    }
    allocated++;
    if ((used[entry >> 3] & (1 << (entry & 7))) !== 0) wrong(`block index ${entry} also used by ${entry}`);
    used[entry >> 3] |= 1 << (entry & 7);
  }
  if (allocated !== wanted) wrong(`allocated blocks mismatch, is ${allocated}, should be ${wanted}`);
  return { corruptions, failed: false };
}
