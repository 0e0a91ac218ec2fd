/** The meaning of QEMU's cache=. Source: QEMU 7.2, qemu-options.hx (-drive, cache=). */
export const CACHE_MODES = ["writeback", "none", "writethrough", "directsync", "unsafe"] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

interface Caching {
  /** Data bypasses the host's page cache (O_DIRECT). */
  readonly direct: boolean;
  /** The guest's device starts with a write cache. Without one, a write is on stable storage when it completes. */
  readonly writeCache: boolean;
  /** False: nothing waits for stable storage. */
  readonly durable: boolean;
}

export const CACHING: Readonly<Record<CacheMode, Caching>> = {
  writeback: { direct: false, writeCache: true, durable: true },
  none: { direct: true, writeCache: true, durable: true },
  writethrough: { direct: false, writeCache: false, durable: true },
  directsync: { direct: true, writeCache: false, durable: true },
  unsafe: { direct: false, writeCache: true, durable: false },
};
