/**
 * Counts how often every cluster of the file is used, and compares that with
 * the refcounts; mends what differs if asked to.
 *
 * Each L2 table is read once, however many snapshots share it, so the time
 * depends on the length of the file alone.
 *
 * Messages are those of `qemu-img check`. Source: QEMU docs/interop/qcow2.txt.
 * As there, refcounts that are wrong are mended in place, but a refcount table or
 * blocks that cannot be right themselves are built anew: see rebuild.ts.
 *
 * Not mended: entries that point outside the file or to no cluster boundary, and
 * a snapshot table that cannot be read.
 */
import { hex } from "../../base/hex.ts";
import { ImageError } from "../../disk/image-error.ts";
import { bitmapRuns } from "./bitmap-directory.ts";
import type { Qcow2Image } from "./image.ts";
import { L2Walk } from "./l2-walk.ts";
import { OFFSET_LOW, PointerTable } from "./pointer-table.ts";
import { rebuildRefcounts } from "./rebuild.ts";
import { readSnapshotTable } from "./snapshot-table.ts";
import { UseCounts } from "./use-counts.ts";

export interface CheckResult {
  /** Things that are wrong, still. */
  corruptions: number;
  /** Clusters that are counted as used more often than they are, still. */
  leaks: number;
  corruptionsFixed: number;
  leaksFixed: number;
  /** Clusters whose refcount cannot be read. */
  checkErrors: number;
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
  /** Called with each mistake, as one line of text. */
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
  let check = new Check(image, report);
  check.count(repair === "all");
  check.compareRefcounts(undefined);
  if (check.needsRebuild && repair === "all") check = rebuilt(image, check, report);
  else if (repair !== undefined) check.mendRefcounts(repair);
  // What is counted right by now tells what COPIED has to say, also where only leaks were mended.
  const { corruptions, leaks, checkErrors } = check.result;
  check.compareCopied(
    repair === "all" || (repair === "leaks" && corruptions === 0 && leaks === 0 && checkErrors === 0),
  );
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

/** Builds new refcounts of what was counted. Returns the check of the image as it is then. */
function rebuilt(image: Qcow2Image, before: Check, report: (message: string) => void): Check {
  report("Rebuilding refcount structure");
  rebuildRefcounts(image, before.uses);
  const after = new Check(image, report);
  after.count(false);
  after.compareRefcounts("leaks");
  const { result } = after;
  result.corruptionsFixed = Math.max(0, before.result.corruptions - result.corruptions);
  // The clusters of the old structure leaked because of the new one: that is not a mistake that was repaired.
  result.leaksFixed = Math.max(0, before.result.leaks - result.leaks);
  return after;
}

/** Counts anew what lazy refcounts left uncounted. @throws {ImageError} if more than that is wrong. */
export function repairDirty(image: Qcow2Image): void {
  const { corruptions, checkErrors } = checkQcow2(image, { repair: "all" });
  if (corruptions + checkErrors > 0) {
    throw new ImageError(image.path, "it was not closed properly, and its refcounts cannot be repaired");
  }
}

class Check {
  readonly result: CheckResult;
  readonly uses: UseCounts;
  /** The refcount table or its blocks cannot be mended in place. */
  needsRebuild = false;
  readonly #image: Qcow2Image;
  readonly #report: (message: string) => void;
  readonly #clusterSize: number;
  /** Clusters of the file. */
  readonly #clusters: number;
  readonly #external: boolean;
  /** Things that were wrong in the tables, before refcounts were compared. */
  #counted = 0;

  constructor(image: Qcow2Image, report: (message: string) => void) {
    const { clusterSize } = image.metadata.geometry;
    this.#image = image;
    this.#report = report;
    this.#clusterSize = clusterSize;
    this.#clusters = Math.ceil(image.file.size / clusterSize);
    this.uses = new UseCounts(image.path, this.#clusters);
    this.#external = image.metadata.data !== image.file || image.header.dataFile !== undefined;
    this.result = {
      corruptions: 0,
      leaks: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      checkErrors: 0,
      totalClusters: Math.ceil(image.size / clusterSize),
      allocatedClusters: 0,
      compressedClusters: 0,
      fragmentedClusters: 0,
      imageEndOffset: 0,
    };
  }

  /** Finds every use of every cluster. @param mends a refcount structure that is damaged will be rebuilt */
  count(mends: boolean): void {
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
    this.#countRefcountStructure(mends);
    this.#counted = this.result.corruptions;
  }

  /** Compares counts, cluster by cluster, and mends those of the kind that is asked for. */
  compareRefcounts(repair: "leaks" | "all" | undefined): void {
    const { refcounts } = this.#image.metadata;
    const { result } = this;
    result.corruptions = this.#counted;
    result.leaks = 0;
    for (let cluster = 0; cluster < this.#clusters; cluster++) {
      if (!refcounts.canRead(cluster)) {
        this.#report(`Can't get refcount for cluster ${cluster}: Input/output error`);
        result.checkErrors++;
        continue;
      }
      const count = refcounts.get(cluster);
      const uses = this.uses.get(cluster);
      if (uses > 0 || count > 0) result.imageEndOffset = (cluster + 1) * this.#clusterSize;
      if (count === uses) continue;
      // A new block may be needed for it, and where something is free is not to be believed.
      if (count === 0) this.needsRebuild = true;
      const mends = count > 0 && (repair === "all" || (repair === "leaks" && count > uses));
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
  }

  /** Mends in place what `compareRefcounts` found. @throws {ImageError} if that is not possible */
  mendRefcounts(repair: "leaks" | "all"): void {
    const { result } = this;
    if (this.needsRebuild) {
      this.#report("ERROR need to rebuild refcount structures");
      throw new ImageError(this.#image.path, "leaks cannot be mended before the rest is: repair all");
    }
    if (result.corruptions > 0 || result.leaks > 0) this.compareRefcounts(repair);
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
      if (table === 0 || !this.#isCluster(table) || !refcounts.canRead(table / this.#clusterSize)) continue;
      const count = refcounts.get(table / this.#clusterSize);
      if ((count === 1) !== l1.isCopied(index)) {
        differ(`L2 cluster: l1_index=${index} l1_entry=`, entryText(l1, index), count);
        if (mend) l1.set(index, table, count === 1);
      }
      let changed = false;
      walk.each(table, (entry) => {
        if (entry.isCompressed) return;
        const cluster = entry.offset / this.#clusterSize;
        if (!this.#external && (!this.#isCluster(entry.offset) || !refcounts.canRead(cluster))) return;
        const uses = this.#external ? 1 : refcounts.get(cluster);
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

  /** Last of all: what lies on a refcount block is counted by now. */
  #countRefcountStructure(mends: boolean): void {
    const { table, tableClusters } = this.#image.metadata.refcounts;
    const damaged = (message: string) => {
      this.#wrong(message);
      this.needsRebuild = true;
    };
    this.#use(table.offset, tableClusters * this.#clusterSize, 1);
    const first = table.offset / this.#clusterSize;
    for (let cluster = first; cluster < first + tableClusters; cluster++) {
      const uses = this.uses.get(cluster);
      if (uses > 1) damaged(`ERROR refcount table refcount=${uses}`);
    }
    for (let index = 0; index < table.size; index++) {
      const low = table.low(index);
      const block = table.high(index) * 2 ** 32 + ((low & OFFSET_LOW) >>> 0);
      if ((low & ~OFFSET_LOW) !== 0) {
        damaged(`ERROR refcount table entry ${index} has reserved bits set`);
      } else if (block % this.#clusterSize !== 0) {
        damaged(`ERROR refcount block ${index} is not cluster aligned; refcount table entry corrupted`);
      } else if (!this.#isCluster(block)) {
        damaged(`${mends ? "Repairing" : "ERROR"} refcount block ${index} is outside image`);
      } else if (block !== 0) {
        this.#use(block, this.#clusterSize, 1);
        const uses = this.uses.get(block / this.#clusterSize);
        if (uses !== 1) damaged(`ERROR refcount block ${index} refcount=${uses}`);
      }
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
      this.uses.add(cluster, times);
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

function entryText(table: PointerTable, index: number): string {
  return (BigInt(table.high(index)) * 2n ** 32n + BigInt(table.low(index))).toString(16);
}
