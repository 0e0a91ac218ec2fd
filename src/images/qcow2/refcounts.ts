/**
 * How often each cluster of the image file is used, and the search for free ones.
 *
 * On stable storage a refcount may be too large (clusters leak, `check` mends
 * that) and never too small. So counts are raised here at once and lowered only
 * when nothing on stable storage needs them any more: see metadata.ts.
 *
 * Source: QEMU docs/interop/qcow2.txt, Host cluster management.
 */

import { ImageError } from "../../disk/image-error.ts";
import type { HostFile } from "../../sys/file.ts";
import { TableCache } from "../table-cache.ts";
import type { Geometry } from "./geometry.ts";
import { MAX_REFCOUNT_TABLE_BYTES, REFCOUNT_TABLE_OFFSET_AT, setUint64 } from "./header.ts";
import { PointerTable } from "./pointer-table.ts";
import { getRefcount, setRefcount } from "./refcount-entry.ts";

/** Clusters that one search looks at before it goes to the end of the file; freed ones before it are left alone. */
const SEARCH_LIMIT = 2 ** 20;
/** Of the high word of a block's offset: above it an offset would not be exact. */
const HIGH_LIMIT = 0x1f_ffff;

/** What the refcounts ask of the image that they count for. */
export interface RefcountPorts {
  /** Puts everything written so far on stable storage. @throws {SystemError} */
  barrier(): void;
  /** What a range of the file holds that may never be given out, in words; undefined if nothing of the kind. */
  metadataAt(offset: number, length: number): string | undefined;
}

export class Refcounts {
  /** How many clusters the last `allocate` gave. */
  count = 0;
  /** The last clusters given were never written: they read as zeros. */
  fresh = false;
  /** How many clusters became free so far. */
  freed = 0;
  readonly #file: HostFile;
  readonly #geometry: Geometry;
  readonly #ports: RefcountPorts;
  readonly #cache: TableCache;
  readonly #entriesPerSlice: number;
  #table: PointerTable;
  #tableClusters: number;
  /** Every cluster before this one is in use, or was passed over. */
  #hint = 0;
  /** From this cluster on the file has never been written. */
  #freshFrom: number;

  /**
   * @param slots of the cache of refcount blocks
   * @throws {SystemError} if the table cannot be read.
   */
  constructor(
    file: HostFile,
    geometry: Geometry,
    place: { readonly offset: number; readonly clusters: number },
    ports: RefcountPorts,
    slots: number,
  ) {
    this.#file = file;
    this.#geometry = geometry;
    this.#ports = ports;
    const { clusterSize, sliceBytes } = geometry;
    this.#tableClusters = place.clusters;
    this.#table = PointerTable.read(file, place.offset, (place.clusters * clusterSize) / 8);
    // A block that is written early does no harm: its counts are right or too large.
    this.#cache = new TableCache(file, sliceBytes, slots, (slot) => this.#cache.writeBack(slot));
    this.#entriesPerSlice = (sliceBytes * 8) >> geometry.refcountOrder;
    // What a block device holds behind the image is not known.
    this.#freshFrom = file.isBlockDevice
      ? Number.POSITIVE_INFINITY
      : Math.ceil(file.size / geometry.clusterSize);
  }

  get isDirty(): boolean {
    return this.#cache.isDirty || this.#table.isDirty;
  }

  get table(): PointerTable {
    return this.#table;
  }

  get tableClusters(): number {
    return this.#tableClusters;
  }

  /** Clusters before the end of the file, or of what was given out behind it. */
  get end(): number {
    const inFile = Math.ceil(this.#file.size / this.#geometry.clusterSize);
    return this.#freshFrom === Number.POSITIVE_INFINITY ? inFile : Math.max(inFile, this.#freshFrom);
  }

  /** @throws {ImageError} if the refcount structure itself is damaged; {SystemError} */
  get(cluster: number): number {
    const start = this.#find(cluster);
    if (start < 0) return 0;
    const index = cluster % this.#entriesPerSlice;
    return getRefcount(this.#cache.view, start, index, this.#geometry.refcountOrder);
  }

  /** Adds one use to each of `count` clusters. @throws {ImageError} beyond the width of a refcount. */
  raise(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) this.set(cluster, this.get(cluster) + 1);
  }

  /** Takes one use from each of `count` clusters. Those that become free are given out again. */
  lower(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      const before = this.get(cluster);
      if (before === 0) continue; // was wrong already: `check` tells
      this.set(cluster, before - 1);
      if (before === 1) {
        this.freed++;
        this.#hint = Math.min(this.#hint, cluster);
        // What was cached of it as a table is none now.
        this.#cache.drop(cluster * this.#geometry.clusterSize, this.#geometry.clusterSize);
      }
    }
  }

  set(cluster: number, count: number): void {
    if (count > this.#geometry.refcountMax) {
      throw new ImageError(
        this.#file.path,
        `cluster ${cluster} cannot be used ${count} times with refcounts of ${2 ** this.#geometry.refcountOrder} bits`,
      );
    }
    const start = this.#find(cluster);
    if (start < 0) {
      if (count === 0) return;
      throw new ImageError(this.#file.path, `no refcount block counts cluster ${cluster}, which is in use`);
    }
    const index = cluster % this.#entriesPerSlice;
    setRefcount(this.#cache.view, start, index, this.#geometry.refcountOrder, count);
    this.#cache.touch();
  }

  /**
   * Takes free clusters that lie one behind the other, up to `wanted` and at
   * least one. Returns the first; `count` and `fresh` say the rest.
   */
  allocate(wanted: number): number {
    const first = this.#firstFree();
    let count = 1;
    const inBlock = this.#geometry.refcountEntries - (first % this.#geometry.refcountEntries);
    while (count < wanted && count < inBlock && this.get(first + count) === 0) count++;
    this.#take(first, count);
    return first;
  }

  /** Takes exactly `wanted` free clusters that lie one behind the other. Returns the first. */
  allocateRun(wanted: number): number {
    if (wanted >= this.#geometry.refcountEntries) return this.#allocateLongRun(wanted);
    let first = this.#firstFree();
    let count = 1;
    for (let looked = 0; count < wanted; looked++) {
      if (looked === 2 * SEARCH_LIMIT + wanted) this.#refuseSearch();
      // Behind the end everything is free, but for blocks that describe what is there.
      if (looked === SEARCH_LIMIT) {
        first = Math.max(first + count, this.end);
        count = 0;
      }
      if (this.#isFree(first + count)) count++;
      else {
        first += count + 1;
        count = 0;
      }
    }
    this.#take(first, count);
    return first;
  }

  /**
   * The same of more clusters than one refcount block counts. Blocks that count them for the first time lie
   * before them, and not among them as elsewhere.
   */
  #allocateLongRun(wanted: number): number {
    const { refcountEntries, clusterSize, refcountOrder } = this.#geometry;
    const indexOf = (cluster: number) => Math.floor(cluster / refcountEntries);
    let first = this.end;
    let blocks: number[] = [];
    for (let looked = 0; ; ) {
      const end = first + blocks.length + wanted;
      if (indexOf(end - 1) >= this.#table.size) {
        this.#growTable(indexOf(end - 1) + 1);
        first = this.end;
        blocks = [];
        continue;
      }
      const missing: number[] = [];
      for (let index = indexOf(first); index <= indexOf(end - 1); index++) {
        if (this.#table.pointer(index) === 0) missing.push(index);
      }
      if (missing.length > blocks.length) {
        blocks = missing; // they make the run longer, which may need one more
        continue;
      }
      const used = this.#lastUsed(first, end);
      if (used < 0) break;
      looked += used + 1 - first;
      if (looked > SEARCH_LIMIT + wanted) this.#refuseSearch();
      first = used + 1;
      blocks = [];
    }
    blocks.forEach((index, i) => {
      const bytes = new Uint8Array(clusterSize);
      const view = new DataView(bytes.buffer);
      for (let other = 0; other < blocks.length; other++) {
        const own = first + other - index * refcountEntries;
        if (own >= 0 && own < refcountEntries) setRefcount(view, 0, own, refcountOrder, 1);
      }
      this.#file.write(bytes, (first + i) * clusterSize);
    });
    // Blocks that are there already count the new ones before the table points to these.
    for (let i = 0; i < blocks.length; i++) {
      if (!blocks.includes(indexOf(first + i))) this.set(first + i, 1);
    }
    blocks.forEach((index, i) => {
      this.#addBlock(index, first + i);
    });
    this.#take(first + blocks.length, wanted);
    return first + blocks.length;
  }

  /** The last cluster of a range that cannot be given out; -1 if all of it can. */
  #lastUsed(first: number, end: number): number {
    const { clusterSize } = this.#geometry;
    for (let cluster = end - 1; cluster >= first; cluster--) {
      if (this.get(cluster) !== 0) return cluster;
    }
    const metadata = this.#ports.metadataAt(first * clusterSize, (end - first) * clusterSize);
    if (metadata === undefined) return -1;
    throw new ImageError(
      this.#file.path,
      `cluster ${first} and those behind it count as free, but hold ${metadata}`,
    );
  }

  /** Takes this very cluster if it is free. */
  allocateAt(cluster: number): boolean {
    if (!this.#isFree(cluster)) return false;
    this.#take(cluster, 1);
    return true;
  }

  /** True if what is said to count a cluster can be a refcount block at all. */
  canRead(cluster: number): boolean {
    const index = Math.floor(cluster / this.#geometry.refcountEntries);
    if (index >= this.#table.size) return true;
    return (
      this.#table.high(index) <= HIGH_LIMIT && this.#table.pointer(index) % this.#geometry.clusterSize === 0
    );
  }

  /** Counts by another table from now on. It and its blocks are in the file. @throws {SystemError} */
  replaceTable(table: PointerTable, clusters: number): void {
    this.#cache.dropAll();
    this.#switchTo(table, clusters);
    this.#hint = 0;
    this.#used(this.end);
  }

  /** Brings changes to the file: blocks, then the table that points to them. @throws {SystemError} */
  writeBack(): void {
    this.#cache.writeBackAll();
    if (!this.#table.isDirty) return;
    this.#ports.barrier();
    this.#table.writeBack(this.#file);
  }

  #take(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) this.set(cluster, 1);
    if (this.#hint >= first && this.#hint < first + count) this.#hint = first + count;
    this.count = count;
    this.fresh = first >= this.#freshFrom;
    this.#used(first + count);
  }

  #used(end: number): void {
    if (this.#freshFrom < end) this.#freshFrom = end;
  }

  #firstFree(): number {
    for (let looked = 0; !this.#isFree(this.#hint); looked++) {
      this.#hint++;
      if (looked === SEARCH_LIMIT) this.#hint = Math.max(this.#hint, this.end);
      if (looked === 2 * SEARCH_LIMIT) this.#refuseSearch();
    }
    return this.#hint;
  }

  #refuseSearch(): never {
    throw new ImageError(this.#file.path, "its refcounts mark clusters beyond the end of the file as used");
  }

  /** True if a cluster can be given out. Makes the block that describes it, in that very place, if there is none. */
  #isFree(cluster: number): boolean {
    const { refcountEntries, clusterSize } = this.#geometry;
    const index = Math.floor(cluster / refcountEntries);
    if (index >= this.#table.size) {
      this.#growTable(index + 1);
      return this.#isFree(cluster);
    }
    if (this.#table.pointer(index) !== 0 && this.get(cluster) !== 0) return false;
    const metadata = this.#ports.metadataAt(cluster * clusterSize, clusterSize);
    if (metadata !== undefined) {
      throw new ImageError(this.#file.path, `cluster ${cluster} counts as free, but holds ${metadata}`);
    }
    if (this.#table.pointer(index) !== 0) return true;
    // No block says that all of its clusters are free: the block goes into the first, and counts itself
    // from the start, so that nothing can fail once the table points to it.
    const block = new Uint8Array(clusterSize);
    setRefcount(new DataView(block.buffer), 0, cluster % refcountEntries, this.#geometry.refcountOrder, 1);
    this.#file.write(block, cluster * clusterSize);
    this.#addBlock(index, cluster);
    return false;
  }

  #addBlock(index: number, cluster: number): void {
    const { clusterSize } = this.#geometry;
    this.#cache.drop(cluster * clusterSize, clusterSize);
    this.#table.set(index, cluster * clusterSize, false);
    this.#used(cluster + 1);
  }

  /**
   * Makes the refcount table long enough for `least` entries, or half as long
   * again. The new one, and blocks that count it, lie where the old one ended to
   * reach: nothing can be there.
   */
  #growTable(least: number): void {
    const { clusterSize, refcountEntries, refcountOrder } = this.#geometry;
    const old = this.#table;
    const perCluster = clusterSize / 8;
    const first = old.size * refcountEntries;
    let clusters = Math.ceil(Math.max(least, (old.size * 3) / 2) / perCluster);
    let blocks = 1;
    // Longer tables need more blocks, which need longer tables.
    for (let fits = false; !fits; ) {
      blocks = Math.ceil((clusters + blocks) / refcountEntries);
      fits = clusters + blocks <= blocks * refcountEntries;
      if (old.size + blocks > clusters * perCluster) {
        clusters++;
        fits = false;
      }
    }
    if (clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
      throw new ImageError(
        this.#file.path,
        "the file is as large as clusters and refcounts of this size allow",
      );
    }
    const tableAt = (first + blocks) * clusterSize;
    const grown = new PointerTable(tableAt, clusters * perCluster);
    grown.copyFrom(old);
    this.#cache.writeBackAll();
    for (let block = 0; block < blocks; block++) {
      const bytes = new Uint8Array(clusterSize);
      const view = new DataView(bytes.buffer);
      const used = Math.min(refcountEntries, blocks + clusters - block * refcountEntries);
      for (let i = 0; i < used; i++) setRefcount(view, 0, i, refcountOrder, 1);
      const at = (first + block) * clusterSize;
      this.#cache.drop(at, clusterSize);
      this.#file.write(bytes, at);
      grown.set(old.size + block, at, false);
    }
    grown.writeTo(this.#file, tableAt);
    const before = { first: old.offset / clusterSize, count: this.#tableClusters };
    this.#used(first + blocks + clusters);
    this.#switchTo(grown, clusters);
    this.lower(before.first, before.count);
  }

  /** Makes the header point to another table, which is in the file. */
  #switchTo(table: PointerTable, clusters: number): void {
    this.#ports.barrier();
    const fields = new Uint8Array(12);
    const view = new DataView(fields.buffer);
    setUint64(view, 0, table.offset);
    view.setUint32(8, clusters);
    this.#file.write(fields, REFCOUNT_TABLE_OFFSET_AT);
    // The file says so now; what fails from here on only leaks the old one.
    this.#table = table;
    this.#tableClusters = clusters;
    this.#ports.barrier();
  }

  /** Where in the cache's view the slice with this cluster's count starts; -1 if no block describes it. */
  #find(cluster: number): number {
    const { refcountEntries, clusterSize, sliceBytes } = this.#geometry;
    const index = Math.floor(cluster / refcountEntries);
    if (index >= this.#table.size) return -1;
    const block = this.#table.pointer(index);
    if (block === 0) return -1;
    if (block % clusterSize !== 0 || this.#table.high(index) > HIGH_LIMIT) {
      throw new ImageError(this.#file.path, `refcount block ${index} lies at offset ${block}`);
    }
    const slice = Math.floor((cluster - index * refcountEntries) / this.#entriesPerSlice);
    return this.#cache.at(block + slice * sliceBytes);
  }
}
