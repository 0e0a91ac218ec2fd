/** The environment of virtio-blk's io side, in tests. */
import type { BlockBackend } from "../../src/disk/backend.ts";
import { DISK_COUNTERS } from "../../src/disk/disk-counters.ts";
import type { BlkIo } from "../../src/virtio/blk/blk-requests.ts";
import type { TestMemory } from "./virtio-driver.ts";

/** Errors are reported to the guest, and nothing is throttled, unless `parts` says otherwise. */
export function blkIo(backend: BlockBackend, memory: TestMemory, parts: Partial<BlkIo> = {}): BlkIo {
  return {
    name: "test0",
    backend,
    memory,
    counters: new Float64Array(DISK_COUNTERS),
    report: () => {},
    rerror: "report",
    werror: "report",
    throttle: undefined,
    now: () => 0,
    ...parts,
  };
}
