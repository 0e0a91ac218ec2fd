/**
 * The sizes that follow from an image's header. Everything else calculates with
 * these and never with the header.
 *
 * Source: QEMU docs/interop/qcow2.txt, Host cluster management, Cluster mapping
 * and Extended L2 Entries.
 */

export const MIN_CLUSTER_BITS = 9;
export const MAX_CLUSTER_BITS = 21;
/** Extended L2 entries need clusters of 16 KiB. */
export const MIN_EXTENDED_CLUSTER_BITS = 14;
const SUBCLUSTERS = 32;

/** Tables are cached by the slice: one sixteenth of a table of 64 KiB clusters. */
const SLICE_BYTES = 4096;

export interface Geometry {
  readonly clusterBits: number;
  /** Bytes. */
  readonly clusterSize: number;
  readonly extendedL2: boolean;
  /** Bytes that are allocated as one: a cluster, or a subcluster with extended L2 entries. */
  readonly unitSize: number;
  readonly unitsPerCluster: number;
  /** Bytes of an L2 entry, 8 or 16. */
  readonly l2EntryBytes: number;
  /** Entries of an L2 table. */
  readonly l2Entries: number;
  /** Guest bytes that one L2 table maps. */
  readonly l2Coverage: number;
  /** Bytes of a cached piece of an L2 table or refcount block. */
  readonly sliceBytes: number;
  /** log2 of the bits of a refcount. */
  readonly refcountOrder: number;
  /** Entries of a refcount block. */
  readonly refcountEntries: number;
  /** The largest refcount; beyond 2^53 the largest that is exact. */
  readonly refcountMax: number;
}

export function geometryOf(clusterBits: number, refcountOrder: number, extendedL2: boolean): Geometry {
  const clusterSize = 2 ** clusterBits;
  const unitsPerCluster = extendedL2 ? SUBCLUSTERS : 1;
  const l2EntryBytes = extendedL2 ? 16 : 8;
  const refcountBits = 2 ** refcountOrder;
  return {
    clusterBits,
    clusterSize,
    extendedL2,
    unitSize: clusterSize / unitsPerCluster,
    unitsPerCluster,
    l2EntryBytes,
    l2Entries: clusterSize / l2EntryBytes,
    l2Coverage: (clusterSize / l2EntryBytes) * clusterSize,
    sliceBytes: Math.min(clusterSize, SLICE_BYTES),
    refcountOrder,
    refcountEntries: (clusterSize * 8) / refcountBits,
    refcountMax: refcountBits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** refcountBits - 1,
  };
}
