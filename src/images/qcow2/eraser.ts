/**
 * Discard and write-zeroes: whole clusters (or subclusters) change in the tables
 * alone, and what was allocated for them is freed. The rest of a range is
 * written as zeros; a discard leaves it as it is.
 *
 * Version 2 has no zero clusters: there a cluster without a backing file is
 * freed, and with one zeros are written.
 *
 * Source: QEMU docs/interop/qcow2.txt, Cluster mapping and Extended L2 Entries.
 */
import { EOPNOTSUPP } from "../../base/errno.ts";
import type { DiskImage } from "../../disk/image.ts";
import { type ClusterMap, ENTRY_ZERO } from "./cluster-map.ts";
import { AUTOCLEAR_DATA_FILE_RAW } from "./features.ts";
import type { Metadata } from "./metadata.ts";
import { type Layers, Reader } from "./reader.ts";
import type { Writer } from "./writer.ts";

const ALL_UNITS = 0xffff_ffff;

export class Eraser {
  readonly #metadata: Metadata;
  readonly #map: ClusterMap;
  readonly #backing: DiskImage | undefined;
  readonly #writer: Writer;
  readonly #reader: Reader;
  readonly #external: boolean;

  constructor(layers: Layers, writer: Writer) {
    this.#metadata = layers.metadata;
    this.#map = layers.map;
    this.#backing = layers.backing;
    this.#writer = writer;
    this.#reader = new Reader(layers);
    this.#external = layers.metadata.data !== layers.metadata.file;
  }

  /** As BlockBackend.discard. What is discarded reads as zeros. @throws {ImageError | SystemError} */
  discard(offset: number, length: number): number {
    const { clusterSize } = this.#metadata.geometry;
    const { version, size } = this.#metadata.header;
    if (version === 2 && this.#backing !== undefined) return EOPNOTSUPP;
    this.#metadata.beginWriting();
    if (this.#isRaw) return this.#metadata.data.discard(offset, length);
    const end = offset + length;
    const first = Math.ceil(offset / clusterSize);
    // The disk may end within its last cluster.
    const last = end === size ? Math.ceil(end / clusterSize) : Math.floor(end / clusterSize);
    this.eraseClusters(first, last);
    return 0;
  }

  /** As BlockBackend.writeZeroes. @throws {ImageError | SystemError} */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    const { unitSize, clusterSize } = this.#metadata.geometry;
    const { version, size } = this.#metadata.header;
    this.#metadata.beginWriting();
    const end = offset + length;
    if (version === 2 && (this.#backing !== undefined || !mayUnmap)) return this.#zero(offset, end);
    if (this.#isRaw) return this.#zeroRawData(offset, length, mayUnmap);
    const first = Math.min(end, Math.ceil(offset / unitSize) * unitSize);
    const last = end === size ? Math.ceil(end / unitSize) * unitSize : Math.floor(end / unitSize) * unitSize;
    if (last <= first) return this.#zero(offset, end);
    const head = this.#zero(offset, first);
    if (head < 0) return head;
    for (let at = first; at < last; ) {
      const cluster = Math.floor(at / clusterSize);
      const inCluster = at - cluster * clusterSize;
      if (inCluster === 0 && last - at >= clusterSize) {
        const behind = Math.floor(last / clusterSize);
        if (mayUnmap) this.eraseClusters(cluster, behind);
        else for (let i = cluster; i < behind; i++) this.#zeroKeeping(i);
        at = behind * clusterSize;
      } else {
        const to = Math.min(clusterSize, last - cluster * clusterSize);
        const result = this.#zeroUnits(cluster, inCluster, to);
        if (result < 0) return result;
        at = cluster * clusterSize + to;
      }
    }
    return this.#zero(last, end);
  }

  /** Frees guest clusters `first` to before `behind`; they read as zeros then. */
  eraseClusters(first: number, behind: number): void {
    const { l2Entries } = this.#metadata.geometry;
    for (let cluster = first; cluster < behind; cluster++) {
      if (this.#backing === undefined && !this.#map.hasTable(cluster)) {
        cluster = (Math.floor(cluster / l2Entries) + 1) * l2Entries - 1; // nothing there at all
        continue;
      }
      this.#erase(cluster);
    }
  }

  /**
   * Makes units that the image does not hold read as zeros, whatever may stand below it.
   * False if that takes data: where zeros have no entry of their own, and for parts of units.
   */
  hide(offset: number, length: number): boolean {
    const { unitSize, clusterSize, extendedL2 } = this.#metadata.geometry;
    const { version, size } = this.#metadata.header;
    const map = this.#map;
    const end = offset + length;
    const last = end === size ? Math.ceil(end / unitSize) * unitSize : end;
    if (version === 2 || this.#isRaw || offset % unitSize !== 0 || last % unitSize !== 0) return false;
    this.#metadata.beginCounting();
    for (let at = offset; at < last; ) {
      const cluster = Math.floor(at / clusterSize);
      const start = cluster * clusterSize;
      const to = Math.min(clusterSize, last - start);
      map.inspect(cluster);
      if (extendedL2) {
        const units = this.#unitBits(at - start, to);
        map.set(cluster, map.high, map.low, (map.zeroBits | units) >>> 0, map.allocatedBits, false);
      } else {
        map.set(cluster, map.high, (map.low | ENTRY_ZERO) >>> 0, 0, 0, false);
      }
      at = start + to;
    }
    return true;
  }

  /** Forgets guest clusters altogether: beyond the end of a disk that becomes smaller. */
  forgetClusters(first: number, behind: number): void {
    const { l2Entries } = this.#metadata.geometry;
    for (let cluster = first; cluster < behind; cluster++) {
      if (!this.#map.hasTable(cluster)) {
        cluster = (Math.floor(cluster / l2Entries) + 1) * l2Entries - 1;
        continue;
      }
      this.#map.inspect(cluster);
      const { high, low, zeroBits, allocatedBits } = this.#map;
      if ((high | low | zeroBits | allocatedBits) === 0) continue;
      this.#metadata.beginCounting();
      this.#map.set(cluster, 0, 0, 0, 0, true, true);
    }
  }

  #erase(cluster: number): void {
    const map = this.#map;
    const { extendedL2, clusterSize } = this.#metadata.geometry;
    map.inspect(cluster);
    const isZero = extendedL2 ? map.zeroBits === ALL_UNITS : (map.low & ENTRY_ZERO) !== 0;
    if (map.isEmpty && (isZero || this.#backing === undefined)) return;
    this.#metadata.beginCounting();
    if (this.#external && map.isOwn) this.#metadata.data.discard(cluster * clusterSize, clusterSize);
    const zero = this.#metadata.header.version === 3;
    map.set(
      cluster,
      0,
      zero && !extendedL2 ? ENTRY_ZERO : 0,
      zero && extendedL2 ? ALL_UNITS : 0,
      0,
      true,
      true,
    );
  }

  /** Makes a whole cluster read as zeros, and keeps what is allocated for it. */
  #zeroKeeping(cluster: number): void {
    const map = this.#map;
    const { extendedL2 } = this.#metadata.geometry;
    map.inspect(cluster);
    if (!map.isOwn) this.#erase(cluster);
    else if (extendedL2) map.set(cluster, map.high, map.low, ALL_UNITS, 0, false);
    else map.set(cluster, map.high, (map.low | ENTRY_ZERO) >>> 0, 0, 0, false);
  }

  /** Makes subclusters read as zeros: bytes `from` to `to` of a cluster. */
  #zeroUnits(cluster: number, from: number, to: number): number {
    const map = this.#map;
    const start = cluster * this.#metadata.geometry.clusterSize;
    map.inspect(cluster);
    // Compressed or shared: what is left of it needs a place of its own.
    if (!map.isOwn && !map.isEmpty) return this.#zero(start + from, start + to);
    if (this.#reader.isZero(start + from, to - from)) return 0;
    map.inspect(cluster);
    this.#metadata.beginCounting();
    const units = this.#unitBits(from, to);
    const zeroBits = (map.zeroBits | units) >>> 0;
    map.set(cluster, map.high, map.low, zeroBits, (map.allocatedBits & ~units) >>> 0, false);
    return 0;
  }

  /** Bits of the subclusters that are bytes `from` to `to` of a cluster. */
  #unitBits(from: number, to: number): number {
    const { unitSize } = this.#metadata.geometry;
    return (2 ** ((to - from) / unitSize) - 1) * 2 ** (from / unitSize);
  }

  /** Writes zeros where something else may be read. */
  #zero(offset: number, end: number): number {
    if (end <= offset || this.#reader.isZero(offset, end - offset)) return 0;
    return this.#writer.writeZeros(offset, end - offset);
  }

  /** The data file by itself has to be the disk: zeros go there, and tables stay. */
  #zeroRawData(offset: number, length: number, mayUnmap: boolean): number {
    const result = this.#metadata.data.writeZeroes(offset, length, mayUnmap);
    return result < 0 ? this.#writer.writeZeros(offset, length) : 0;
  }

  get #isRaw(): boolean {
    return this.#external && (this.#metadata.header.autoclear & AUTOCLEAR_DATA_FILE_RAW) !== 0n;
  }
}
