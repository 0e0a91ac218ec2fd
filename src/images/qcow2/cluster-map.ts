/**
 * The places of the virtual disk's bytes: reads and changes L1 and L2 tables.
 *
 * `lookup` and `inspect` store their answer in fields, because every request calls them,
 * and must not allocate.
 *
 * Source: QEMU docs/interop/qcow2.txt, Cluster mapping and Extended L2 Entries.
 */
import type { Geometry } from "./geometry.ts";
import type { Metadata } from "./metadata.ts";
import { COPIED, OFFSET_HIGH, OFFSET_LOW } from "./pointer-table.ts";

// Kinds of runs.
/** Not in this image: the backing file's bytes, or zeros. */
export const UNALLOCATED = 0;
const ZERO = 1;
export const DATA = 2;
export const COMPRESSED = 3;

/** Bit 62 of an L2 entry, in its high word. */
export const ENTRY_COMPRESSED = 0x4000_0000;
/** Bit 0 of an L2 entry of version 3: the cluster reads as zeros. */
export const ENTRY_ZERO = 1;
/** Above this an offset would not be exact; no file is so long. */
const HIGH_LIMIT = 2 ** 21;

export class ClusterMap {
  /** Of the run that `lookup` found. */
  kind = UNALLOCATED;
  /** Bytes. */
  length = 0;
  /** The place of its first byte in the file (or data file): for DATA; for ZERO the allocated place, or 0. */
  host = 0;
  /** DATA with one user: it may be written in place. */
  copied = false;

  // The words of the L2 entry and the subcluster bitmap of the cluster that `inspect` found.
  high = 0;
  low = 0;
  zeroBits = 0;
  allocatedBits = 0;

  readonly #metadata: Metadata;
  readonly #geometry: Geometry;
  /** Guest data is in another file, each cluster at its own offset. */
  readonly #external: boolean;
  /** Of the entry decoded last. */
  #entryHost = 0;
  #unitKind = UNALLOCATED;
  #unitCount = 0;

  constructor(metadata: Metadata, external: boolean) {
    this.#metadata = metadata;
    this.#geometry = metadata.geometry;
    this.#external = external;
  }

  /** Finds the run of one kind at `offset`, of at most `most` bytes. @throws {ImageError | SystemError} */
  lookup(offset: number, most: number): void {
    const { clusterSize, unitSize, unitsPerCluster, l2Entries } = this.#geometry;
    let cluster = Math.floor(offset / clusterSize);
    const inCluster = offset - cluster * clusterSize;
    if (!this.#load(cluster)) {
      const behind = (Math.floor(cluster / l2Entries) + 1) * l2Entries * clusterSize;
      this.kind = UNALLOCATED;
      this.host = 0;
      this.copied = false;
      this.length = Math.min(most, behind - offset);
      return;
    }
    let unit = Math.floor(inCluster / unitSize);
    this.#decode(cluster, unit);
    this.kind = this.#unitKind;
    this.host = this.#entryHost === 0 && !this.#external ? 0 : this.#entryHost + inCluster;
    this.copied = (this.high & COPIED) !== 0;
    let length = (unit + this.#unitCount) * unitSize - inCluster;
    if (this.kind === COMPRESSED) {
      this.length = Math.min(most, length);
      return;
    }
    // Continues while the next cluster is of the same kind, and directly behind this one.
    const lastInSlice = this.#lastInSlice(cluster);
    unit += this.#unitCount;
    while (length < most && unit === unitsPerCluster && cluster < lastInSlice) {
      cluster++;
      this.#load(cluster);
      this.#decode(cluster, 0);
      if (this.#unitKind !== this.kind) break;
      if (this.kind === DATA) {
        if (this.#entryHost !== this.host + length || ((this.high & COPIED) !== 0) !== this.copied) break;
      } else if (this.kind === ZERO && (this.host !== 0 || this.#entryHost !== 0)) {
        break;
      }
      unit = this.#unitCount;
      length += unit * unitSize;
    }
    this.length = Math.min(most, length);
  }

  /** Reads the entry of a guest cluster into `high`, `low`, `zeroBits` and `allocatedBits`; zeros without a table. */
  inspect(cluster: number): void {
    if (this.#load(cluster)) return;
    this.high = 0;
    this.low = 0;
    this.zeroBits = 0;
    this.allocatedBits = 0;
  }

  /** After `inspect`: the place of the cluster's data; 0 if there is none, or it is compressed. */
  get entryHost(): number {
    if ((this.high & ENTRY_COMPRESSED) !== 0) return 0;
    return (this.high & OFFSET_HIGH) * 2 ** 32 + ((this.low & OFFSET_LOW) >>> 0);
  }

  /** After `inspect`: data compressed. */
  get isCompressed(): boolean {
    return (this.high & ENTRY_COMPRESSED) !== 0;
  }

  /** After `inspect`: something is allocated for the cluster, and only for it. */
  get isOwn(): boolean {
    return (this.high & ENTRY_COMPRESSED) === 0 && (this.high & COPIED) !== 0;
  }

  /** After `inspect`: nothing is allocated for the cluster. */
  get isEmpty(): boolean {
    return (this.high & ENTRY_COMPRESSED) === 0 && !this.isOwn && this.entryHost === 0;
  }

  /** After `inspect` of a compressed cluster: the first byte of its data. */
  get compressedOffset(): number {
    const bits = this.#sizeShift;
    const high = this.high & 0x3fff_ffff & (2 ** (bits - 32) - 1);
    return high * 2 ** 32 + this.low;
  }

  /** After `inspect` of a compressed cluster: bytes up to the end of the last sector that has some of its data. */
  get compressedLength(): number {
    const sectors = ((this.high & 0x3fff_ffff) >>> (this.#sizeShift - 32)) + 1;
    return sectors * 512 - (this.compressedOffset % 512);
  }

  /** The words of an entry for compressed data. */
  compressedEntry(offset: number, length: number): { high: number; low: number } {
    const sectors = Math.floor((offset + length - 1) / 512) - Math.floor(offset / 512);
    const high = (sectors << (this.#sizeShift - 32)) | Math.floor(offset / 2 ** 32) | ENTRY_COMPRESSED;
    return { high: high >>> 0, low: offset % 2 ** 32 };
  }

  /** Bytes that compressed data may be away from the start of the file. */
  get compressedLimit(): number {
    return 2 ** Math.min(this.#sizeShift, 53);
  }

  /** The last guest cluster whose entry is in the same slice. */
  lastInSlice(cluster: number): number {
    return this.#lastInSlice(cluster);
  }

  /** True if there is an L2 table for a guest cluster. */
  hasTable(cluster: number): boolean {
    return this.#table(cluster) !== 0;
  }

  /**
   * Changes the entry of a cluster after `inspect`. Makes the L2 table, or a copy of one
   * that a snapshot uses too.
   *
   * @param frees ends the use of the old cluster
   * @param punch frees its storage on the host
   * @throws {ImageError | SystemError}
   */
  set(
    cluster: number,
    high: number,
    low: number,
    zeroBits: number,
    allocatedBits: number,
    frees: boolean,
    punch = false,
  ): void {
    const { clusterSize } = this.#geometry;
    let first = this.entryHost / clusterSize;
    let count = frees && first !== 0 && !this.#external ? 1 : 0;
    if (frees && this.isCompressed) {
      first = Math.floor(this.compressedOffset / clusterSize);
      count = Math.floor((this.compressedOffset + this.compressedLength - 1) / clusterSize) - first + 1;
    }
    this.#ownTable(cluster);
    const at = this.#at(cluster);
    const { view } = this.#metadata.l2;
    view.setUint32(at, high);
    view.setUint32(at + 4, low);
    if (this.#geometry.extendedL2) {
      view.setUint32(at + 8, zeroBits);
      view.setUint32(at + 12, allocatedBits);
    }
    this.#metadata.l2.touch();
    // Only now: a commit before would lower the count of a cluster that the file still points to.
    if (count > 0) this.#metadata.free(first, count, punch);
  }

  /** Bits of the offset in a compressed entry. */
  get #sizeShift(): number {
    return 62 - (this.#geometry.clusterBits - 8);
  }

  #lastInSlice(cluster: number): number {
    const perSlice = this.#geometry.sliceBytes / this.#geometry.l2EntryBytes;
    return cluster - (cluster % perSlice) + perSlice - 1;
  }

  /** The place of a cluster's L2 table; 0 if there is none. */
  #table(cluster: number): number {
    const { l1 } = this.#metadata;
    const index = Math.floor(cluster / this.#geometry.l2Entries);
    if (index >= l1.size) return 0;
    const table = l1.pointer(index);
    if (table % this.#geometry.clusterSize !== 0 || (l1.high(index) & OFFSET_HIGH) >= HIGH_LIMIT) {
      throw this.#metadata.corrupt(`entry ${index} of the L1 table points to offset ${table}`);
    }
    return table;
  }

  /** The index of a cluster's entry in the cache's view. Its table must exist. */
  #at(cluster: number): number {
    const { l2Entries, l2EntryBytes, sliceBytes } = this.#geometry;
    const inTable = (cluster % l2Entries) * l2EntryBytes;
    const inSlice = inTable % sliceBytes;
    return this.#metadata.l2.at(this.#table(cluster) + inTable - inSlice) + inSlice;
  }

  /** Reads the words of an entry. False if there is no table. */
  #load(cluster: number): boolean {
    if (this.#table(cluster) === 0) return false;
    const at = this.#at(cluster);
    const { view } = this.#metadata.l2;
    this.high = view.getUint32(at);
    this.low = view.getUint32(at + 4);
    if (this.#geometry.extendedL2) {
      this.zeroBits = view.getUint32(at + 8);
      this.allocatedBits = view.getUint32(at + 12);
    }
    return true;
  }

  /** Decodes the words of `#load`: the kind, and the number of equal units from `unit` on. */
  #decode(cluster: number, unit: number): void {
    const { clusterSize, unitsPerCluster, extendedL2 } = this.#geometry;
    const { high, low } = this;
    this.#unitCount = unitsPerCluster - unit;
    this.#entryHost = 0;
    if ((high & ENTRY_COMPRESSED) !== 0) {
      this.#unitKind = COMPRESSED;
      if (this.#external) throw this.#damaged(cluster);
      return;
    }
    const host = (high & OFFSET_HIGH) * 2 ** 32 + ((low & OFFSET_LOW) >>> 0);
    if (host % clusterSize !== 0 || (high & OFFSET_HIGH) >= HIGH_LIMIT) throw this.#damaged(cluster);
    this.#entryHost = host;
    const allocated = host !== 0 || (this.#external && (high & COPIED) !== 0);
    if (this.#external && allocated && host !== cluster * clusterSize) throw this.#damaged(cluster);
    if (extendedL2) {
      this.#decodeUnits(cluster, unit, allocated);
    } else if ((low & ENTRY_ZERO) !== 0) {
      if (this.#metadata.header.version === 2) throw this.#damaged(cluster);
      this.#unitKind = ZERO;
    } else {
      this.#unitKind = allocated ? DATA : UNALLOCATED;
    }
  }

  #decodeUnits(cluster: number, unit: number, allocated: boolean): void {
    const { zeroBits, allocatedBits } = this;
    if ((zeroBits & allocatedBits) !== 0 || (allocatedBits !== 0 && !allocated)) throw this.#damaged(cluster);
    const zero = (zeroBits >>> unit) & 1;
    const data = (allocatedBits >>> unit) & 1;
    let count = 1;
    while (
      unit + count < this.#geometry.unitsPerCluster &&
      ((zeroBits >>> (unit + count)) & 1) === zero &&
      ((allocatedBits >>> (unit + count)) & 1) === data
    ) {
      count++;
    }
    this.#unitCount = count;
    this.#unitKind = data === 1 ? DATA : zero === 1 ? ZERO : UNALLOCATED;
  }

  /** Makes sure that a cluster has an L2 table, and that only the active L1 table uses it. */
  #ownTable(cluster: number): void {
    const metadata = this.#metadata;
    const { clusterSize, l2Entries } = this.#geometry;
    const index = Math.floor(cluster / l2Entries);
    const old = this.#table(cluster);
    if (old !== 0 && metadata.l1.isCopied(index)) return;
    // Changes of the old one may still be in the cache: the copy is made from the file.
    if (old !== 0) metadata.commit();
    const host = metadata.refcounts.allocate(1) * clusterSize;
    const table = new Uint8Array(clusterSize);
    if (old !== 0) metadata.file.read(table, old);
    metadata.l2.drop(host, clusterSize);
    metadata.file.write(table, host);
    metadata.l1.set(index, host, true);
    if (old !== 0) metadata.free(old / clusterSize, 1, false);
  }

  #damaged(cluster: number): Error {
    return this.#metadata.corrupt(`the L2 entry of cluster ${cluster} is not valid`);
  }
}
