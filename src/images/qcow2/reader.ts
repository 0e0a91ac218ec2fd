/**
 * Reads the virtual disk: a request is cut into runs, and each run comes from
 * the data file, from nowhere, from compressed data or from the backing file.
 */

import { EIO } from "../../base/errno.ts";
import type { Pieces } from "../../base/pieces.ts";
import type { DiskImage } from "../../disk/image.ts";
import { clear, fill, type IoMemory } from "../../disk/io-memory.ts";
import { PieceCursor } from "../../disk/piece-cursor.ts";
import { decompress, type InflatedClusters } from "../compressed.ts";
import { type ClusterMap, COMPRESSED, DATA, UNALLOCATED } from "./cluster-map.ts";
import type { Metadata } from "./metadata.ts";

/** What an image consists of. */
export interface Layers {
  readonly metadata: Metadata;
  readonly map: ClusterMap;
  readonly backing: DiskImage | undefined;
  readonly inflated: InflatedClusters;
}

export class Reader {
  readonly #layers: Layers;
  readonly #cursor = new PieceCursor();

  constructor(layers: Layers) {
    this.#layers = layers;
  }

  /** As BlockBackend.readv. @throws {ImageError | SystemError} where tables or compressed data cannot be read. */
  readv(memory: IoMemory, pieces: Pieces, offset: number): number {
    const { map, backing } = this.#layers;
    const { data } = this.#layers.metadata;
    const cursor = this.#cursor;
    const wanted = cursor.begin(pieces);
    for (let done = 0; done < wanted; ) {
      const at = offset + done;
      map.lookup(at, wanted - done);
      const { kind, length } = map;
      if (kind === DATA) {
        cursor.take(length);
        const got = memory.readv(data, cursor.portion, map.host);
        if (got < 0) return got;
        if (got < length) {
          if (this.#isLost(map.host + length)) return EIO;
          this.#clearFrom(memory, got);
        }
      } else if (kind === COMPRESSED) {
        cursor.take(length);
        const start = at % this.#layers.metadata.geometry.clusterSize;
        fill(memory, cursor.portion, this.#inflate(at - start).subarray(start, start + length));
      } else {
        const below = kind === UNALLOCATED && backing ? Math.min(length, Math.max(0, backing.size - at)) : 0;
        if (below > 0 && backing !== undefined) {
          cursor.take(below);
          const got = backing.readv(memory, cursor.portion, at);
          if (got < 0) return got;
        }
        if (length > below) {
          cursor.take(length - below);
          clear(memory, cursor.portion);
        }
      }
      done += length;
    }
    return wanted;
  }

  /** The last cluster of a file need not be whole. If the one before offset `behind` is not there at all, the file got shorter. */
  #isLost(behind: number): boolean {
    const { geometry, data } = this.#layers.metadata;
    return data.size <= Math.floor((behind - 1) / geometry.clusterSize) * geometry.clusterSize;
  }

  /** True if a range reads as zeros for a reason that needs no look at data. */
  isZero(offset: number, length: number): boolean {
    const { map, backing } = this.#layers;
    for (let done = 0; done < length; ) {
      map.lookup(offset + done, length - done);
      if (map.kind === DATA || map.kind === COMPRESSED) return false;
      if (map.kind === UNALLOCATED && backing !== undefined && offset + done < backing.size) return false;
      done += map.length;
    }
    return true;
  }

  /** Clears the last portion from byte `start` on. */
  #clearFrom(memory: IoMemory, start: number): void {
    const { portion } = this.#cursor;
    const { pairs, count } = portion;
    let before = 0;
    for (let i = 0; i < count; i++) {
      const skip = Math.min(pairs[2 * i + 1], Math.max(0, start - before));
      before += pairs[2 * i + 1];
      pairs[2 * i] += skip;
      pairs[2 * i + 1] -= skip;
    }
    clear(memory, portion);
  }

  #inflate(guestOffset: number): Uint8Array {
    const { map, metadata, inflated } = this.#layers;
    const { file, geometry, header } = metadata;
    map.inspect(guestOffset / geometry.clusterSize);
    const offset = map.compressedOffset;
    const kept = inflated.get(offset);
    if (kept !== undefined) return kept;
    const data = new Uint8Array(map.compressedLength);
    const got = file.read(data, offset);
    const cluster = decompress(file.path, data.subarray(0, got), geometry.clusterSize, header.compression);
    inflated.add(offset, cluster);
    return cluster;
  }
}
