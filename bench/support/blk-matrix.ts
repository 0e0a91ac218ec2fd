/** The rows of bench/blk: every load on every kind of disk. A piece is one kind of disk with all its loads. */

const KIB = 1024;

export interface Load {
  readonly name: string;
  readonly what: string;
  /** The argument of blk-load. */
  readonly mode: "randread" | "randwrite" | "read" | "write";
  /** Bytes of a request. */
  readonly block: number;
  /** Requests in flight at the same time. */
  readonly depth: number;
}

export interface Disk {
  readonly name: string;
  readonly what: string;
  readonly format: "raw" | "qcow2";
  /** QEMU's cache=: with the host's page cache, or with O_DIRECT. */
  readonly cache: "writeback" | "none";
}

const SMALL = { block: 4 * KIB };
const LARGE = { block: 128 * KIB, depth: 8 };

export const LOADS: readonly Load[] = [
  { name: "randread-1", what: "4 KiB random reads, depth 1", mode: "randread", ...SMALL, depth: 1 },
  { name: "randread-32", what: "4 KiB random reads, depth 32", mode: "randread", ...SMALL, depth: 32 },
  { name: "randwrite-1", what: "4 KiB random writes, depth 1", mode: "randwrite", ...SMALL, depth: 1 },
  { name: "randwrite-32", what: "4 KiB random writes, depth 32", mode: "randwrite", ...SMALL, depth: 32 },
  { name: "seqread-8", what: "128 KiB reads in sequence, depth 8", mode: "read", ...LARGE },
  { name: "seqwrite-8", what: "128 KiB writes in sequence, depth 8", mode: "write", ...LARGE },
];

export const DISKS: readonly Disk[] = [
  { name: "raw-cached", what: "raw, page cache", format: "raw", cache: "writeback" },
  { name: "raw-direct", what: "raw, O_DIRECT", format: "raw", cache: "none" },
  { name: "qcow2-cached", what: "qcow2, page cache", format: "qcow2", cache: "writeback" },
  { name: "qcow2-direct", what: "qcow2, O_DIRECT", format: "qcow2", cache: "none" },
];

/** One kind of disk, and its selected loads. */
export interface Piece {
  readonly disk: Disk;
  readonly loads: readonly Load[];
}

/** Pieces of the rows whose name, as in `raw-direct-randread-32`, contains each of `filters`. */
export function choosePieces(filters: readonly string[]): Piece[] {
  return DISKS.map((disk) => ({
    disk,
    loads: LOADS.filter((load) => filters.every((text) => `${disk.name}-${load.name}`.includes(text))),
  })).filter(({ loads }) => loads.length > 0);
}
