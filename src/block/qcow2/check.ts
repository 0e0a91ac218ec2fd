/**
 * Counts how often every cluster of the file is used, and compares that with
 * the refcounts; mends what differs if asked to.
 *
 * Each L2 table is read once, however many snapshots share it, so the time
 * depends on the length of the file alone.
 *
 * Messages are those of `qemu-img check`. Source: QEMU docs/interop/qcow2.txt.
 *
 * Not mended: entries that point outside the file or to no cluster boundary, and
 * a snapshot table that cannot be read.
 */
import { ImageError } from "../image-error.ts";
import { bitmapRuns } from "./bitmaps.ts";
import type { Qcow2Image } from "./image.ts";
import { L2Walk } from "./l2-walk.ts";
import { PointerTable } from "./pointer-table.ts";
import { readSnapshotTable } from "./snapshot-table.ts";

/** Clusters of a file that can be checked: a gigabyte of counters. */
const MAX_CLUSTERS = 2 ** 28;
const MAX_USES = 0xffff_ffff;

export interface CheckResult {
  /** Things that are wrong, still. */
  corruptions: number;
  /** Clusters that are counted as used more often than they are, still. */
  leaks: number;
  corruptionsFixed: number;
  leaksFixed: number;
  /** Clusters of the disk; of these allocated, compressed, and not behind the one before. */
  readonly totalClusters: number;
  allocatedClusters: number;
  compressedClusters: number;
  fragmentedClusters: number;
  /** Where the last used cluster of the file ends. */
  imageEndOffset: number;
}

export interface CheckOptions {
  /** Which mistakes to mend; by default none. */
  readonly repair?: "leaks" | "all" | undefined;
  /** Is told each mistake, in a line. */
  readonly report?: (message: string) => void;
}

/**
 * Checks an image, in the state that the program that has it open sees.
 *
 * @throws {ImageError} if its tables cannot even be found, or it is too large to check
 * @throws {SystemError} if the file cannot be read, or written for repair
 */
export function checkQcow2(image: Qcow2Image, { repair, report = () => {} }: CheckOptions = {}): CheckResult {
  const { metadata } = image;
  if (repair !== undefined && image.readOnly)
    throw new RangeError("an image that is open read-only cannot be repaired");
  metadata.commit();
  const check = new Check(image, report);
  check.count();
  check.compareRefcounts(repair);
  // What is counted right by now tells what COPIED has to say, also where only leaks were mended.
  const { corruptions, leaks } = check.result;
  check.compareCopied(repair === "all" || (repair === "leaks" && corruptions === 0 && leaks === 0));
  if (repair !== undefined) {
    metadata.refcounts.writeBack();
    metadata.barrier();
    if (repair === "all" && check.result.corruptions === 0) {
      if (metadata.isDirtyImage) metadata.setDirty(false);
      metadata.clearCorrupt();
    }
  }
  return check.result;
}

/** Counts anew what lazy refcounts left uncounted. @throws {ImageError} if more than that is wrong. */
export function repairDirty(image: Qcow2Image): void {
  const { corruptions } = checkQcow2(image, { repair: "all" });
  if (corruptions > 0) {
    throw new ImageError(image.path, "it was not closed properly, and its refcounts cannot be repaired");
  }
}

class Check {
  readonly result: CheckResult;
  readonly #image: Qcow2Image;
  readonly #report: (message: string) => void;
  readonly #clusterSize: number;
  /** Clusters of the file. */
  readonly #clusters: number;
  readonly #uses: Uint32Array;
  readonly #external: boolean;

  constructor(image: Qcow2Image, report: (message: string) => void) {
    const { clusterSize } = image.metadata.geometry;
    this.#image = image;
    this.#report = report;
    this.#clusterSize = clusterSize;
    this.#clusters = Math.ceil(image.file.size / clusterSize);
    if (this.#clusters > MAX_CLUSTERS) {
      throw new ImageError(
        image.path,
        `it has ${this.#clusters} clusters; ${MAX_CLUSTERS} are the most that can be checked`,
      );
    }
    this.#uses = new Uint32Array(this.#clusters);
    this.#external = image.metadata.data !== image.file || image.header.dataFile !== undefined;
    this.result = {
      corruptions: 0,
      leaks: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      totalClusters: Math.ceil(image.size / clusterSize),
      allocatedClusters: 0,
      compressedClusters: 0,
      fragmentedClusters: 0,
      imageEndOffset: 0,
    };
  }

  /** Finds every use of every cluster. */
  count(): void {
    const { file, header, metadata } = this.#image;
    this.#use(0, this.#clusterSize, 1);
    this.#use(metadata.l1.offset, metadata.l1.length, 1);
    /** How many L1 entries point to an L2 table. */
    const tables = new Map<number, number>();
    const active = this.#tablesOf(metadata.l1, "active", tables);
    const { snapshots, bytes } = readSnapshotTable(file, header);
    for (const snapshot of snapshots) {
      this.#use(snapshot.l1Offset, snapshot.l1Size * 8, 1);
      this.#tablesOf(PointerTable.read(file, snapshot.l1Offset, snapshot.l1Size), snapshot.name, tables);
    }
    if (bytes > 0) this.#use(header.snapshotsOffset, bytes, 1);
    bitmapRuns(file, header, (offset, length) => this.#use(offset, length, 1));
    this.#countEntries(tables, active);
    this.#countRefcountStructure();
  }

  /** Compares counts, cluster by cluster. */
  compareRefcounts(repair: "leaks" | "all" | undefined): void {
    const { refcounts } = this.#image.metadata;
    const { result } = this;
    // What counts as free before the end may be in use: nothing new goes there.
    if (repair !== undefined) refcounts.searchFrom(this.#clusters);
    for (let cluster = 0; cluster < this.#clusters; cluster++) {
      const count = refcounts.get(cluster);
      const uses = this.#uses[cluster];
      if (uses > 0 || count > 0) result.imageEndOffset = (cluster + 1) * this.#clusterSize;
      if (count === uses) continue;
      const mends = repair === "all" || (repair === "leaks" && count > uses);
      const what = mends ? "Repairing" : count < uses ? "ERROR" : "Leaked";
      this.#report(`${what} cluster ${cluster} refcount=${count} reference=${uses}`);
      if (mends) {
        refcounts.set(cluster, uses);
        if (count < uses) result.corruptionsFixed++;
        else result.leaksFixed++;
      } else if (count < uses) {
        result.corruptions++;
      } else {
        result.leaks++;
      }
    }
    if (repair !== undefined) refcounts.searchFrom(0);
  }

  /** COPIED says that a cluster is used once; in the active tables it has to be true. */
  compareCopied(mend: boolean): void {
    const { metadata, file } = this.#image;
    const { refcounts, geometry, l1 } = metadata;
    const walk = new L2Walk(file, geometry);
    const differ = (what: string, entry: string, count: number) => {
      this.#report(`${mend ? "Repairing" : "ERROR"} OFLAG_COPIED ${what}${entry} refcount=${count}`);
      if (mend) this.result.corruptionsFixed++;
      else this.result.corruptions++;
    };
    for (let index = 0; index < l1.size; index++) {
      const table = l1.pointer(index);
      if (table === 0 || !this.#isCluster(table)) continue;
      const count = refcounts.get(table / this.#clusterSize);
      if ((count === 1) !== l1.isCopied(index)) {
        differ(`L2 cluster: l1_index=${index} l1_entry=`, entryText(l1, index), count);
        if (mend) l1.set(index, table, count === 1);
      }
      let changed = false;
      walk.each(table, (entry) => {
        if (entry.isCompressed) return;
        if (!this.#external && !this.#isCluster(entry.offset)) return;
        const uses = this.#external ? 1 : refcounts.get(entry.offset / this.#clusterSize);
        if ((uses === 1) === entry.isCopied) return;
        differ("data cluster: l2_entry=", entry.text, uses);
        walk.mark(entry.index, uses === 1);
        changed = true;
      });
      if (mend && changed) {
        metadata.l2.drop(table, this.#clusterSize);
        walk.write(table);
      }
    }
    if (l1.isDirty) l1.writeBack(file);
  }

  /** Adds the L2 tables that an L1 table points to. Returns them. */
  #tablesOf(l1: PointerTable, owner: string, tables: Map<number, number>): Set<number> {
    const own = new Set<number>();
    for (let index = 0; index < l1.size; index++) {
      const table = l1.pointer(index);
      if (table === 0) continue;
      if (!this.#isCluster(table)) {
        this.#wrong(`ERROR L2 offset ${hex(table)} of the ${owner} L1 table: not a cluster of the file`);
        continue;
      }
      tables.set(table, (tables.get(table) ?? 0) + 1);
      own.add(table);
    }
    return own;
  }

  #countEntries(tables: Map<number, number>, active: Set<number>): void {
    const { result } = this;
    const walk = new L2Walk(this.#image.file, this.#image.metadata.geometry);
    for (const [table, count] of tables) {
      this.#use(table, this.#clusterSize, count);
      const isActive = active.has(table);
      let expected = 0;
      walk.each(table, (entry) => {
        if (isActive) result.allocatedClusters++;
        if (entry.isCompressed) {
          if (isActive) {
            result.compressedClusters++;
            result.fragmentedClusters++;
          }
          if (entry.isCopied)
            this.#wrong(
              `ERROR: coffset=${hex(entry.offset)}: copied flag must never be set for compressed clusters`,
            );
          this.#use(entry.offset, entry.length, count);
          return;
        }
        if (isActive && expected !== 0 && entry.offset !== expected) result.fragmentedClusters++;
        expected = entry.offset + this.#clusterSize;
        if (this.#external) return;
        if (entry.offset % this.#clusterSize !== 0) {
          this.#wrong(
            `ERROR offset=${hex(entry.offset)}: Data cluster is not properly aligned; L2 entry corrupted.`,
          );
          return;
        }
        this.#use(entry.offset, this.#clusterSize, count);
      });
    }
  }

  #countRefcountStructure(): void {
    const { table, tableClusters } = this.#image.metadata.refcounts;
    this.#use(table.offset, tableClusters * this.#clusterSize, 1);
    for (let index = 0; index < table.size; index++) {
      const block = table.pointer(index);
      if (block === 0) continue;
      if (!this.#isCluster(block)) {
        this.#wrong(`ERROR refcount block ${index} is outside image`);
        throw new ImageError(this.#image.path, `refcount block ${index} lies at offset ${block}`);
      }
      this.#use(block, this.#clusterSize, 1);
    }
  }

  /** Counts `times` uses of a range of the file. */
  #use(offset: number, length: number, times: number): void {
    if (length === 0) return;
    const last = Math.floor((offset + length - 1) / this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster <= last; cluster++) {
      if (cluster >= this.#clusters) {
        this.#wrong(
          `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset ${hex(offset)} size ${hex(length)}`,
        );
        return;
      }
      this.#uses[cluster] = Math.min(MAX_USES, this.#uses[cluster] + times);
    }
  }

  /** True if a cluster of the file starts there. */
  #isCluster(offset: number): boolean {
    return offset % this.#clusterSize === 0 && offset / this.#clusterSize < this.#clusters;
  }

  #wrong(message: string): void {
    this.#report(message);
    this.result.corruptions++;
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function entryText(table: PointerTable, index: number): string {
  return (BigInt(table.high(index)) * 2n ** 32n + BigInt(table.low(index))).toString(16);
}
