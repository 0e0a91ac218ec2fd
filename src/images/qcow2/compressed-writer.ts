/**
 * Writes clusters compressed, one behind the other without regard to where host
 * clusters begin: each host cluster is counted once for every one of them that
 * touches it. For programs that make images; a guest's writes are never compressed.
 *
 * Source: QEMU docs/interop/qcow2.txt, Compressed Clusters Descriptor.
 */
import { ImageError } from "../../disk/image-error.ts";
import { compress } from "../compressed.ts";
import type { Layers } from "./reader.ts";

export class CompressedWriter {
  readonly #layers: Layers;
  /** Where the next one may go, in a cluster that the last one left room in; 0 if there is none. */
  #next = 0;
  /** What Refcounts.freed was then: a cluster that became free may be somebody else's now. */
  #freed = 0;

  constructor(layers: Layers) {
    this.#layers = layers;
  }

  /**
   * Writes one whole guest cluster compressed. False if it does not get smaller:
   * then nothing happened.
   * @throws {ImageError | SystemError}
   */
  write(cluster: number, bytes: Uint8Array): boolean {
    const { metadata, map, inflated } = this.#layers;
    if (metadata.data !== metadata.file) {
      throw new ImageError(metadata.file.path, "clusters of this image cannot be compressed");
    }
    const packed = compress(bytes, metadata.header.compression);
    if (packed === undefined) return false;
    metadata.beginCounting();
    const offset = this.#place(packed.length);
    if (offset + packed.length > map.compressedLimit) {
      throw new ImageError(metadata.file.path, "the file is too large for compressed clusters");
    }
    // Readers take whole sectors: the last one has to be there.
    const end = Math.ceil((offset + packed.length) / 512) * 512;
    const padded = new Uint8Array(end - offset);
    padded.set(packed);
    metadata.file.write(padded, offset);
    inflated.clear();
    map.inspect(cluster);
    const { high, low } = map.compressedEntry(offset, packed.length);
    map.set(cluster, high, low, 0, 0, true);
    return true;
  }

  /** Takes room for `length` bytes, less than a cluster, and counts its use. */
  #place(length: number): number {
    const { refcounts, geometry } = this.#layers.metadata;
    const { clusterSize, refcountMax } = geometry;
    if (refcounts.freed !== this.#freed) this.#next = 0;
    this.#freed = refcounts.freed;
    const used = this.#next % clusterSize;
    const left = used === 0 ? 0 : clusterSize - used;
    const cluster = Math.floor(this.#next / clusterSize);
    const shares = left > 0 && refcounts.get(cluster) > 0 && refcounts.get(cluster) < refcountMax;
    if (shares && (length <= left || refcounts.allocateAt(cluster + 1))) {
      refcounts.raise(cluster, 1);
      const offset = this.#next;
      this.#next = offset + length;
      return offset;
    }
    const offset = refcounts.allocate(1) * clusterSize;
    this.#next = offset + length;
    return offset;
  }
}
