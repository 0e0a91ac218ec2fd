/**
 * VHDX images of Hyper-V, fixed and dynamic: blocks of 1 to 256 MiB, and a table
 * (BAT) that says where they are.
 *
 * Source: MS-VHDX (Virtual Hard Disk v2), 2.5 BAT, whose names are used. All
 * fields are little endian.
 *
 * Regions and blocks that overlap are read as they are: nothing is written.
 */

import { MIB } from "../../base/units.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { type BlockTable, ZERO } from "../block-map.ts";
import type { ReadOnlyParts, TableCheck } from "../read-only-image.ts";
import { TablePages } from "../table-pages.ts";
import { type Region, readHeaderSection } from "./header.ts";
import { type Metadata, readMetadata } from "./metadata.ts";

const BAT_ENTRY_BYTES = 8;
const STATE = 7;
const FILE_OFFSET_LOW = 0xfff0_0000;

const PAYLOAD_BLOCK_NOT_PRESENT = 0;
const PAYLOAD_BLOCK_UNDEFINED = 1;
const PAYLOAD_BLOCK_ZERO = 2;
const PAYLOAD_BLOCK_UNMAPPED = 3;
/** From the version before the specification's first; QEMU knows it too. */
const PAYLOAD_BLOCK_UNMAPPED_V095 = 5;
const PAYLOAD_BLOCK_FULLY_PRESENT = 6;

/** Sectors of one sector bitmap block: after that many, the table has an entry for it. */
const CHUNK_SECTORS = 2 ** 23;

/** @throws {ImageError} for a file that is not such an image, or cannot be used; {SystemError} */
export function openVhdx(file: HostFile, cacheBytes: number): ReadOnlyParts {
  const regions = readHeaderSection(file);
  const metadata = readMetadata(file, regions.metadata);
  const { blockSize, virtualDiskSize } = metadata;
  const blocks = Math.ceil(virtualDiskSize / blockSize);
  const table = new BlockAllocationTable(file, regions.bat, metadata, cacheBytes);
  if (blocks > 0 && table.indexOf(blocks - 1) >= Math.floor(regions.bat.length / BAT_ENTRY_BYTES)) {
    throw new ImageError(file.path, `its table has no room for ${blocks} blocks of ${blockSize} bytes`);
  }
  return {
    format: "vhdx",
    size: virtualDiskSize,
    table,
    clusterSize: blockSize,
    check: (report) => checkTable(file, table, virtualDiskSize, report),
  };
}

class BlockAllocationTable implements BlockTable {
  readonly blockSize: number;
  readonly alike = 1;
  readonly #path: string;
  readonly #pages: TablePages;
  readonly #offset: number;
  readonly #chunkRatio: number;

  constructor(file: HostFile, bat: Region, metadata: Metadata, cacheBytes: number) {
    this.blockSize = metadata.blockSize;
    this.#path = file.path;
    this.#pages = new TablePages(file, bat.length, cacheBytes);
    this.#offset = bat.fileOffset;
    this.#chunkRatio = (CHUNK_SECTORS * metadata.logicalSectorSize) / metadata.blockSize;
  }

  /** Of a block's entry: a sector bitmap's is behind each chunk. */
  indexOf(block: number): number {
    return block + Math.floor(block / this.#chunkRatio);
  }

  hostOf(block: number): number {
    const at = this.#offset + this.indexOf(block) * BAT_ENTRY_BYTES;
    const low = this.#pages.uint32(at);
    switch (low & STATE) {
      case PAYLOAD_BLOCK_NOT_PRESENT:
      case PAYLOAD_BLOCK_UNDEFINED:
      case PAYLOAD_BLOCK_ZERO:
      case PAYLOAD_BLOCK_UNMAPPED:
      case PAYLOAD_BLOCK_UNMAPPED_V095:
        return ZERO;
      case PAYLOAD_BLOCK_FULLY_PRESENT: {
        const host = this.#pages.uint32(at + 4) * 2 ** 32 + ((low & FILE_OFFSET_LOW) >>> 0);
        if (host >= MIB && Number.isSafeInteger(host + this.blockSize)) return host;
        throw new ImageError(this.#path, `block ${block} is at offset ${host}, which is not a valid place`);
      }
      default:
        throw new ImageError(this.#path, `block ${block} is in state ${low & STATE}, which is not valid`);
    }
  }
}

/** Every allocated block is complete in the file, except for the part behind the disk's end (block/vhdx.c). */
function checkTable(
  file: HostFile,
  table: BlockAllocationTable,
  size: number,
  report: (line: string) => void,
): TableCheck {
  const fileSize = file.size;
  let corruptions = 0;
  for (let block = 0; block * table.blockSize < size; block++) {
    try {
      const host = table.hostOf(block);
      const needed = Math.min(table.blockSize, size - block * table.blockSize);
      if (host < 0 || host + needed <= fileSize) continue;
      report(
        `VHDX BAT entry ${table.indexOf(block)} offset points after end of file. Image has probably been truncated.`,
      );
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      report(error.message);
    }
    corruptions++;
  }
  return { corruptions, failed: false };
}
