/**
 * Writes the virtual disk. Data is written directly to allocated clusters. Otherwise it
 * gets new clusters: they are filled first, including old contents around the request,
 * and afterwards the tables point to them.
 *
 * Source: QEMU docs/interop/qcow2.txt, Cluster mapping and Extended L2 Entries.
 */

import { EIO } from "../../base/errno.ts";
import { Pieces } from "../../base/pieces.ts";
import { BufferMemory, type IoMemory } from "../../disk/io-memory.ts";
import { PieceCursor } from "../../disk/piece-cursor.ts";
import { ZEROS } from "../../disk/zeros.ts";
import { check } from "../../sys/errors.ts";
import type { HostFile } from "../../sys/file.ts";
import { type ClusterMap, DATA } from "./cluster-map.ts";
import type { Metadata } from "./metadata.ts";
import { COPIED } from "./pointer-table.ts";
import { type Layers, Reader } from "./reader.ts";

const ALL_UNITS = 0xffff_ffff;

export class Writer {
  readonly #layers: Layers;
  readonly #metadata: Metadata;
  readonly #map: ClusterMap;
  readonly #data: HostFile;
  readonly #external: boolean;
  readonly #cursor = new PieceCursor();
  /** The cursor for copies: that of the request must not move. */
  readonly #reader: Reader;
  #scratch: Uint8Array | undefined;

  constructor(layers: Layers) {
    this.#layers = layers;
    this.#metadata = layers.metadata;
    this.#map = layers.map;
    this.#data = layers.metadata.data;
    this.#external = layers.metadata.data !== layers.metadata.file;
    this.#reader = new Reader(layers);
  }

  /** As BlockBackend.writev. @throws {ImageError | SystemError} where tables cannot be read or written. */
  writev(memory: IoMemory, pieces: Pieces, offset: number, dsync: boolean): number {
    const cursor = this.#cursor;
    const map = this.#map;
    const wanted = cursor.begin(pieces);
    this.#metadata.beginWriting();
    for (let done = 0; done < wanted; ) {
      const at = offset + done;
      map.lookup(at, wanted - done);
      let length: number;
      if (map.kind === DATA && map.copied) {
        length = map.length;
        this.#checkPlace(map.host, length);
        cursor.take(length);
        const written = memory.writev(this.#data, cursor.portion, map.host, dsync);
        if (written !== length) return written < 0 ? written : EIO;
      } else {
        length = this.#allocating(memory, at, wanted - done);
        if (length < 0) return length;
      }
      done += length;
    }
    if (dsync && this.#metadata.isChanged) this.#metadata.flush();
    return wanted;
  }

  /** Makes a range of the data read as zeros by writing them. 0 or -errno. */
  writeZeros(offset: number, length: number): number {
    const zeros = new BufferMemory(ZEROS);
    const piece = Pieces.of(0, 0);
    for (let done = 0; done < length; ) {
      piece.pairs[1] = Math.min(ZEROS.length, length - done);
      const written = this.writev(zeros, piece, offset + done, false);
      if (written < 0) return written;
      done += written;
    }
    return 0;
  }

  /**
   * Writes the next part of a request to clusters that have to be allocated.
   * Returns how many bytes that was, or -errno.
   */
  #allocating(memory: IoMemory, offset: number, most: number): number {
    const { clusterSize, unitSize } = this.#metadata.geometry;
    const map = this.#map;
    const firstCluster = Math.floor(offset / clusterSize);
    const inCluster = offset - firstCluster * clusterSize;
    const run = map.length;
    this.#metadata.beginCounting();
    map.inspect(firstCluster);

    if (map.isOwn) {
      // Allocated, but reads as zeros: a preallocated zero cluster, or subclusters.
      const length = Math.min(most, run, clusterSize - inCluster);
      const host = map.entryHost;
      const from = inCluster - (inCluster % unitSize);
      const to = Math.ceil((inCluster + length) / unitSize) * unitSize;
      const result = this.#fill(memory, offset, length, firstCluster, from, to, host, false);
      if (result < 0) return result;
      this.#link(firstCluster, host, from, to);
      return length;
    }

    const clusters = this.#countNew(firstCluster, Math.ceil((inCluster + most) / clusterSize));
    const { host, count, fresh } = this.#allocate(firstCluster, clusters);
    const length = Math.min(most, count * clusterSize - inCluster);
    map.inspect(firstCluster);
    const from = map.isEmpty ? inCluster - (inCluster % unitSize) : 0;
    map.inspect(firstCluster + count - 1);
    const to = map.isEmpty ? Math.ceil((inCluster + length) / unitSize) * unitSize : count * clusterSize;
    let result: number;
    try {
      result = this.#fill(memory, offset, length, firstCluster, from, to, host, fresh);
    } catch (error) {
      this.#giveBack(host, count);
      throw error;
    }
    if (result < 0) {
      this.#giveBack(host, count);
      return result;
    }
    for (let i = 0; i < count; i++) {
      const start = Math.max(0, from - i * clusterSize);
      this.#link(
        firstCluster + i,
        host + i * clusterSize,
        start,
        Math.min(clusterSize, to - i * clusterSize),
      );
    }
    return length;
  }

  /** How many guest clusters from `cluster` on, at most `most` and at least one, need a new place. */
  #countNew(cluster: number, most: number): number {
    const end = Math.min(cluster + most - 1, this.#map.lastInSlice(cluster));
    let count = 1;
    while (cluster + count <= end) {
      this.#map.inspect(cluster + count);
      if (this.#map.isOwn) break;
      count++;
    }
    return count;
  }

  #allocate(cluster: number, wanted: number): { host: number; count: number; fresh: boolean } {
    const { clusterSize } = this.#metadata.geometry;
    if (this.#external) return { host: cluster * clusterSize, count: wanted, fresh: false };
    const { refcounts } = this.#metadata;
    const host = refcounts.allocate(wanted) * clusterSize;
    // A place of compressed data may soon have other data.
    this.#layers.inflated.clear();
    return { host, count: refcounts.count, fresh: refcounts.fresh };
  }

  #giveBack(host: number, count: number): void {
    if (!this.#external) this.#metadata.refcounts.lower(host / this.#metadata.geometry.clusterSize, count);
  }

  /**
   * Fills bytes `from` to `to` at `host`, counted from the start of
   * `firstCluster`: the request's part, and the disk's contents around it.
   */
  #fill(
    memory: IoMemory,
    offset: number,
    length: number,
    firstCluster: number,
    from: number,
    to: number,
    host: number,
    fresh: boolean,
  ): number {
    const start = firstCluster * this.#metadata.geometry.clusterSize;
    const inCluster = offset - start;
    this.#checkPlace(host + from, to - from);
    this.#copy(start + from, inCluster - from, host + from, fresh);
    this.#copy(offset + length, to - inCluster - length, host + inCluster + length, fresh);
    const cursor = this.#cursor;
    cursor.take(length);
    const written = memory.writev(this.#data, cursor.portion, host + inCluster, false);
    return written === length || written < 0 ? written : EIO;
  }

  /** Copies less than a cluster of the disk to `host`. @throws {ImageError | SystemError} */
  #copy(guestOffset: number, length: number, host: number, fresh: boolean): void {
    if (length === 0) return;
    this.#scratch ??= new Uint8Array(this.#metadata.geometry.clusterSize);
    const bytes = this.#scratch.subarray(0, length);
    if (this.#reader.isZero(guestOffset, length)) {
      if (fresh) return;
      bytes.fill(0);
    } else {
      const read = this.#reader.readv(new BufferMemory(bytes), Pieces.whole(length), guestOffset);
      check(read, "pread", `copying from ${(this.#layers.backing ?? this.#metadata.file).path}`);
    }
    this.#data.write(bytes, host);
  }

  /** Points an entry to `host`, which has bytes `from` to `to` of the cluster. Frees the old cluster. */
  #link(cluster: number, host: number, from: number, to: number): void {
    const map = this.#map;
    const { unitSize, unitsPerCluster, extendedL2 } = this.#metadata.geometry;
    map.inspect(cluster);
    const high = Math.floor(host / 2 ** 32) | COPIED;
    let zeroBits = 0;
    let allocatedBits = 0;
    if (extendedL2) {
      const first = from / unitSize;
      const count = Math.min(unitsPerCluster, to / unitSize) - first;
      const filled = count === 32 ? ALL_UNITS : (2 ** count - 1) * 2 ** first;
      const keeps = map.isOwn || map.isEmpty;
      zeroBits = keeps ? (map.zeroBits & ~filled) >>> 0 : 0;
      allocatedBits = keeps ? (map.allocatedBits | filled) >>> 0 : ALL_UNITS;
    }
    const isNew = !(map.isOwn && map.entryHost === host);
    map.set(cluster, high >>> 0, host % 2 ** 32, zeroBits, allocatedBits, isNew);
  }

  /** Throws if guest data would overwrite the image's own tables. */
  #checkPlace(host: number, length: number): void {
    if (this.#external) return;
    const metadata = this.#metadata.metadataAt(host, length);
    if (metadata === undefined) return;
    throw this.#metadata.corrupt(`a guest cluster lies at offset ${host}, where ${metadata} is`);
  }
}
