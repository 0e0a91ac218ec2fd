/**
 * Where the bytes of a disk lie, for formats that keep it in blocks of one size:
 * a table says for each block where it is in the file, and a run of blocks that
 * lie one behind the other (or are nowhere) is one answer.
 */

/** Instead of a place: the image says that the block reads as zeros. */
export const ZERO = -1;
/** Instead of a place: the image says nothing about the block. It reads as zeros too, as nothing is below. */
export const UNALLOCATED = -2;

export interface BlockTable {
  /** Bytes. */
  readonly blockSize: number;
  /** Blocks from the last one asked for on, known to be as that one was where it is nowhere; at least 1. */
  readonly alike: number;
  /** Where a block begins in the file; ZERO or UNALLOCATED. @throws {ImageError | SystemError} */
  hostOf(block: number): number;
}

/** One lookup's answer is in the fields, so that nothing is allocated for it. */
export class BlockMap {
  /** Bytes that the answer holds for. */
  length = 0;
  /** Where they begin in the file: with `isPacked`, where their block does. Or ZERO, or UNALLOCATED. */
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

  /** Finds `offset` of the disk, and how far it goes on like that; `most` bytes at most. @throws as `hostOf` */
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
