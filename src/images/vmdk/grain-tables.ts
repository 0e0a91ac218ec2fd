/**
 * The places of the grains of a VMDK sparse extent: a directory of tables, each with
 * the places of 512 grains.
 *
 * Source: VMware, Virtual Disk Format 5.0, "Grain Directories and Grain Tables".
 * The redundant second directory is ignored.
 */

import { SECTOR } from "../../base/units.ts";
import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { type BlockTable, UNALLOCATED, ZERO } from "../block-map.ts";
import { TablePages } from "../table-pages.ts";
import type { SparseHeader } from "./header.ts";

const GTE_ZERO_GRAIN = 1;

export class GrainTables implements BlockTable {
  readonly blockSize: number;
  alike = 1;
  readonly #path: string;
  readonly #fileSize: number;
  readonly #header: SparseHeader;
  readonly #pages: TablePages;

  constructor(file: HostFile, header: SparseHeader, cacheBytes: number) {
    this.blockSize = header.grainBytes;
    this.#path = file.path;
    this.#fileSize = file.size;
    this.#header = header;
    const tables = 4 * header.gdEntries * (1 + header.numGTEsPerGT);
    this.#pages = new TablePages(file, tables, cacheBytes);
  }

  hostOf(grain: number): number {
    const { gdAt, numGTEsPerGT, hasZeroGrains } = this.#header;
    const index = Math.floor(grain / numGTEsPerGT);
    const inTable = grain - index * numGTEsPerGT;
    this.alike = 1;
    // Grains behind the disk's last one have no entry, and are never read.
    if (index >= this.#header.gdEntries) return UNALLOCATED;
    const table = this.#pages.uint32(gdAt + 4 * index) * SECTOR;
    if (table === 0) {
      this.alike = numGTEsPerGT - inTable;
      return UNALLOCATED;
    }
    if (table + 4 * numGTEsPerGT > this.#fileSize) {
      throw new ImageError(
        this.#path,
        `grain table ${index} is at offset ${table}, beyond the end of the file; it was cut off, copy it anew`,
      );
    }
    const entry = this.#pages.uint32(table + 4 * inTable);
    if (entry === 0) return UNALLOCATED;
    return hasZeroGrains && entry === GTE_ZERO_GRAIN ? ZERO : entry * SECTOR;
  }
}
