/** A virtio disk. Its storage is given on the io thread, by the part's name. */
import { Throttle, type ThrottleLimits } from "../../disk/throttle.ts";
import { type BlkDisk, blkState, QUEUE_SIZE, VirtioBlk } from "../../virtio/blk/blk.ts";
import { BLK_FIELDS, type BlkHost, type ErrorPolicy } from "../../virtio/blk/blk-requests.ts";
import type { Slot } from "../part.ts";
import type { VirtioPart } from "./virtio-mmio.ts";

export interface BlkConfig extends BlkDisk {
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
  readonly throttling: ThrottleLimits | undefined;
}

export const virtioBlk: VirtioPart<BlkConfig> = {
  kind: "virtio-blk",
  device: (slot, config) => new VirtioBlk(config, blkState(config.queues, slot.take), ioSide(slot, config)),
};

function ioSide(
  { name, ports }: Slot,
  { queues, rerror, werror, throttling }: BlkConfig,
): BlkHost | undefined {
  const counters = ports.counters(name, BLK_FIELDS);
  if (ports.io === undefined) return undefined;
  const { memory, report } = ports.io;
  const backend = ports.io.disk(name, queues * QUEUE_SIZE);
  const throttle = throttling === undefined ? undefined : new Throttle(throttling);
  const now = () => performance.now();
  return { name, backend, memory, report, counters, rerror, werror, throttle, now };
}
