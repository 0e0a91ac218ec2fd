/**
 * Allocates every cluster of a range of the disk before it is written.
 *
 * "metadata": tables are complete, data clusters are holes of the file. "falloc":
 * the host reserves storage for all of it. "full": zeros are written everywhere.
 */

import { statSync } from "node:fs";
import { EOPNOTSUPP } from "../../base/errno.ts";
import { ZEROS } from "../../disk/zeros.ts";
import { check } from "../../sys/errors.ts";
import { hostPath } from "../../sys/host-path.ts";
import type { ClusterMap } from "./cluster-map.ts";
import type { Metadata } from "./metadata.ts";
import { COPIED } from "./pointer-table.ts";

export type Preallocation = "off" | "metadata" | "falloc" | "full";

/** What preallocation uses of an open image. */
interface PreallocatedImage {
  readonly metadata: Metadata;
  readonly map: ClusterMap;
}

const ALL_UNITS = 0xffff_ffff;

/**
 * Preallocates bytes `start` to `end` of the disk, where nothing is allocated yet.
 * @throws {ImageError | SystemError}
 */
export function preallocate(
  { metadata, map }: PreallocatedImage,
  start: number,
  end: number,
  how: Preallocation,
): void {
  if (how === "off") return;
  const { clusterSize, extendedL2 } = metadata.geometry;
  const { data, file, refcounts } = metadata;
  const external = data !== file;
  metadata.beginCounting();
  const behind = Math.ceil(end / clusterSize);
  // Over a backing file a subcluster has its place, and its contents still come from below.
  const units = extendedL2 && metadata.header.backingFile === undefined ? ALL_UNITS : 0;
  let dataEnd = 0;
  for (let cluster = Math.ceil(start / clusterSize); cluster < behind; ) {
    const wanted = behind - cluster;
    const host = external ? cluster * clusterSize : refcounts.allocate(wanted) * clusterSize;
    const count = external ? wanted : refcounts.count;
    const fresh = external || refcounts.fresh;
    for (let i = 0; i < count; i++) {
      const at = host + i * clusterSize;
      map.inspect(cluster + i);
      map.set(
        cluster + i,
        (Math.floor(at / 2 ** 32) | COPIED) >>> 0,
        at % 2 ** 32,
        units === 0 ? map.zeroBits : 0,
        units,
        false,
      );
    }
    // Reused clusters contain old data.
    if (how === "full" || !fresh) writeZeros(metadata, host, count * clusterSize);
    else if (how === "falloc") reserve(metadata, host, count * clusterSize);
    dataEnd = Math.max(dataEnd, host + count * clusterSize);
    cluster += count;
  }
  if (external) dataEnd = Math.max(data.size, end);
  if (!data.isBlockDevice && data.size < dataEnd) data.truncate(dataEnd);
  metadata.commit();
}

/**
 * True if the file has far fewer blocks than clusters in use: clusters are then
 * allocated that were never written. Source: QEMU block/qcow2-refcount.c,
 * qcow2_detect_metadata_preallocation.
 */
export function isProbablyPreallocated({ file, geometry, refcounts }: Metadata): boolean {
  if (file.isBlockDevice) return false;
  const { clusterSize } = geometry;
  const stored = Math.floor((statSync(hostPath(file.path)).blocks * 512) / clusterSize);
  const threshold = Math.max(Math.floor((stored * 10) / 9), stored + 2);
  const clusters = Math.ceil(file.size / clusterSize);
  let used = 0;
  for (let cluster = 0; cluster < clusters && used <= threshold; cluster++) {
    if (refcounts.get(cluster) > 0) used++;
  }
  return used > threshold;
}

function reserve(metadata: Metadata, offset: number, length: number): void {
  const { file, data } = metadata;
  const result = data.allocate(offset, length);
  if (result === EOPNOTSUPP) writeZeros(metadata, offset, length);
  else check(result, "fallocate", `reserving storage for ${file.path}`);
}

function writeZeros({ data }: Metadata, offset: number, length: number): void {
  for (let done = 0; done < length; done += ZEROS.length) {
    data.write(ZEROS.subarray(0, Math.min(ZEROS.length, length - done)), offset + done);
  }
}
