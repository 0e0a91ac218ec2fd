/**
 * Compressed clusters: zlib's deflate without a header, or Zstandard frames. The last
 * clusters are cached, because a guest reads a cluster in several pieces.
 *
 * Source: QEMU docs/interop/qcow2.txt, Compressed Clusters Descriptor; RFC 1951.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { ImageError } from "../disk/image-error.ts";
import { zstd } from "./zstd.ts";
import { zstdFrameLength } from "./zstd-frame.ts";

export type CompressionType = "zlib" | "zstd";

/** Bytes of cached clusters. */
const KEPT_BYTES = 4 * 2 ** 20;
/** The bits of the deflate window: QEMU writes with this, and requires no more. */
const WINDOW_BITS = 12;

/** Smaller than a cluster, or undefined if that is not possible. */
export function compress(cluster: Uint8Array, type: CompressionType): Uint8Array | undefined {
  const packed =
    type === "zstd" ? zstd().compress(cluster) : deflateRawSync(cluster, { windowBits: WINDOW_BITS });
  return packed.length < cluster.length ? packed : undefined;
}

/** @throws {ImageError} unless the data gives exactly one cluster. Bytes after it are ignored. */
export function decompress(
  path: string,
  data: Uint8Array,
  clusterSize: number,
  type: CompressionType,
): Uint8Array {
  let cluster: Uint8Array;
  try {
    cluster =
      type === "zstd"
        ? decompressFrames(data, clusterSize)
        : inflateRawSync(data, { maxOutputLength: clusterSize });
  } catch (error) {
    throw new ImageError(path, `a compressed cluster cannot be read (${describe(error)})`);
  }
  if (cluster.length === clusterSize) return cluster;
  throw new ImageError(path, `a compressed cluster has ${cluster.length} bytes instead of ${clusterSize}`);
}

/** QEMU writes one frame, and reads as many as it takes to fill a cluster. */
function decompressFrames(data: Uint8Array, clusterSize: number): Uint8Array {
  const cluster = new Uint8Array(clusterSize);
  let filled = 0;
  for (let at = 0; filled < clusterSize; ) {
    const length = zstdFrameLength(data, at);
    if (length === undefined) return cluster.subarray(0, filled);
    filled += zstd().decompress(data.subarray(at, at + length), cluster.subarray(filled));
    at += length;
  }
  return cluster;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Clusters by the place of their compressed data. */
export class InflatedClusters {
  readonly #kept = new Map<number, Uint8Array>();
  readonly #most: number;

  constructor(clusterSize: number) {
    this.#most = Math.max(1, KEPT_BYTES / clusterSize);
  }

  get(offset: number): Uint8Array | undefined {
    return this.#kept.get(offset);
  }

  add(offset: number, cluster: Uint8Array): void {
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size < this.#most) break;
      this.#kept.delete(oldest);
    }
    this.#kept.set(offset, cluster);
  }

  /** Forgets the data of that place, which may have changed. */
  clear(): void {
    this.#kept.clear();
  }
}
