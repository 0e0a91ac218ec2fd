/**
 * The places of a disk's bytes, for formats with blocks of one size: a table has the
 * place of each block in the file. A run of consecutive blocks (or of blocks without a
 * place) is one answer.
 */

/** Instead of a place: the image says that the block reads as zeros. */
export const ZERO = -1;
/** Instead of a place: the image does not define the block. It reads as zeros, because there is no image below. */
export const UNALLOCATED = -2;

export interface BlockTable {
  /** Bytes. */
  readonly blockSize: number;
  /** Blocks from the last lookup on that have no place either, as far as known; at least 1. */
  readonly alike: number;
  /** The start of a block in the file; ZERO or UNALLOCATED. @throws {ImageError | SystemError} */
  hostOf(block: number): number;
}

/** The answer of a lookup is in fields, so nothing is allocated for it. */
export class BlockMap {
  /** The length of the run in bytes. */
  length = 0;
  /** The start of the run in the file, or with `isPacked` that of its block; ZERO; or UNALLOCATED. */
  host = 0;
  readonly #table: BlockTable;
  readonly #isPacked: boolean;

  /** @param isPacked blocks are compressed: each is an answer of its own */
  constructor(table: BlockTable, isPacked: boolean) {
    this.#table = table;
    this.#isPacked = isPacked;
  }

  get blockSize(): number {
    return this.#table.blockSize;
  }

  /** Finds the run at `offset` of the disk, of at most `most` bytes. @throws as `hostOf` */
  lookup(offset: number, most: number): void {
    const table = this.#table;
    const { blockSize } = table;
    const block = Math.floor(offset / blockSize);
    const start = offset - block * blockSize;
    const host = table.hostOf(block);
    let blocks = host < 0 ? table.alike : 1;
    if (host < 0 || !this.#isPacked) {
      while (blocks * blockSize - start < most) {
        const next = table.hostOf(block + blocks);
        if (host < 0 ? next !== host : next !== host + blocks * blockSize) break;
        blocks += host < 0 ? table.alike : 1;
      }
    }
    this.host = host < 0 || this.#isPacked ? host : host + start;
    this.length = Math.min(most, blocks * blockSize - start);
  }
}
