/** A virtio disk. The io thread finds its storage by the part's name. */

import { DISK_FIELDS } from "../../disk/disk-counters.ts";
import type { ErrorPolicy } from "../../disk/host-errors.ts";
import { Throttle, type ThrottleLimits } from "../../disk/throttle.ts";
import { type BlkDisk, blkState, QUEUE_SIZE, VirtioBlk } from "../../virtio/blk/blk.ts";
import type { BlkIo } from "../../virtio/blk/blk-requests.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export interface BlkConfig extends BlkDisk {
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
  readonly throttling: ThrottleLimits | undefined;
}

export const virtioBlk: VirtioPart<BlkConfig> = {
  kind: "virtio-blk",
  bootNodes: ["scsi", "disk@0,0"],
  unit({ name, take, ports }, config) {
    const { io } = ports;
    const { queues, rerror, werror, throttling } = config;
    const counters = ports.counters(name, DISK_FIELDS);
    const state = blkState(queues, take);
    if (io === undefined) return { device: new VirtioBlk(config, state) };
    const { memory, report } = io;
    const backEnd = io.disk(name, queues * QUEUE_SIZE);
    const throttle = throttling === undefined ? undefined : new Throttle(throttling);
    const ioSide: BlkIo = {
      ...{ name, backend: backEnd.disk, memory, report, counters, rerror, werror, throttle },
      now: () => performance.now(),
    };
    return { device: new VirtioBlk(config, state, ioSide), backEnd };
  },
};
