/**
 * Builds a new refcount table and its blocks from what a check counted, where
 * the old ones cannot be used: they lie outside the file or on something else,
 * or call clusters free that are in use.
 *
 * The new ones go to clusters that nothing uses, the old structure included, and
 * the header points to them when they are on stable storage. So until that moment
 * the image is what it was, and from then on its counts are right, but for the
 * clusters of the old structure: they leak.
 *
 * Source: QEMU docs/interop/qcow2.txt, Host cluster management. Places are chosen
 * as QEMU's block/qcow2-refcount.c (rebuild_refcount_structure) does.
 */
import { ImageError } from "../../disk/image-error.ts";
import { MAX_REFCOUNT_TABLE_BYTES } from "./header.ts";
import type { Qcow2Image } from "./image.ts";
import { PointerTable } from "./pointer-table.ts";
import { setRefcount } from "./refcount-entry.ts";
import type { UseCounts } from "./use-counts.ts";

/**
 * @param uses what the table and its blocks will say; their own clusters are added
 * @throws {ImageError} if a refcount is too narrow for its count, or the table would be too long; {SystemError}
 */
export function rebuildRefcounts(image: Qcow2Image, uses: UseCounts): void {
  new Rebuild(image, uses).run();
}

class Rebuild {
  readonly #image: Qcow2Image;
  readonly #uses: UseCounts;
  /** Cluster of each refcount block; 0 where there is none. */
  readonly #blocks: number[] = [];
  /** Nothing is free before this cluster. */
  #free = 0;

  constructor(image: Qcow2Image, uses: UseCounts) {
    this.#image = image;
    this.#uses = uses;
  }

  run(): void {
    const { metadata, file } = this.#image;
    const { clusterSize } = metadata.geometry;
    this.#checkWidth();
    this.#writeBlocks(0, this.#uses.length);
    let first = 0;
    let clusters = 0;
    // A place for the table may need another block, which makes the table longer.
    while (this.#tableClusters > clusters) {
      clusters = this.#tableClusters;
      first = this.#uses.allocate(clusters, 0);
      this.#writeBlocks(first, first + clusters);
    }
    const table = new PointerTable(first * clusterSize, (clusters * clusterSize) / 8);
    this.#blocks.forEach((block, index) => {
      if (block !== 0) table.set(index, block * clusterSize, false);
    });
    table.writeTo(file, table.offset);
    metadata.refcounts.replaceTable(table, clusters);
  }

  get #tableClusters(): number {
    const { clusterSize } = this.#image.metadata.geometry;
    const clusters = Math.ceil((this.#blocks.length * 8) / clusterSize);
    if (clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
      throw new ImageError(this.#image.path, "the file is too large for its clusters and refcounts");
    }
    return clusters;
  }

  /** Before anything is written. */
  #checkWidth(): void {
    const { refcountMax, refcountOrder } = this.#image.metadata.geometry;
    for (let cluster = 0; cluster < this.#uses.length; cluster++) {
      const uses = this.#uses.get(cluster);
      if (uses <= refcountMax) continue;
      throw new ImageError(
        this.#image.path,
        `cluster ${cluster} cannot be used ${uses} times with refcounts of ${2 ** refcountOrder} bits`,
      );
    }
  }

  /** Writes the blocks for those of clusters `start` to before `end` that are used, and for the blocks themselves. */
  #writeBlocks(start: number, end: number): void {
    const { refcountEntries } = this.#image.metadata.geometry;
    for (let cluster = start; cluster < end; cluster++) {
      if (this.#uses.get(cluster) === 0) continue;
      const index = Math.floor(cluster / refcountEntries);
      while (this.#blocks.length <= index) this.#blocks.push(0);
      if (this.#blocks[index] === 0) {
        // Not where a block says already what is free.
        this.#free = this.#uses.allocate(1, Math.max(this.#free, index * refcountEntries));
        this.#blocks[index] = this.#free;
        end = Math.max(end, this.#free + 1);
      }
      this.#writeBlock(index);
      cluster = (index + 1) * refcountEntries - 1;
    }
  }

  #writeBlock(index: number): void {
    const { clusterSize, refcountEntries, refcountOrder } = this.#image.metadata.geometry;
    const bytes = new Uint8Array(clusterSize);
    const view = new DataView(bytes.buffer);
    for (let entry = 0; entry < refcountEntries; entry++) {
      const uses = this.#uses.get(index * refcountEntries + entry);
      if (uses !== 0) setRefcount(view, 0, entry, refcountOrder, uses);
    }
    this.#image.file.write(bytes, this.#blocks[index] * clusterSize);
  }
}
