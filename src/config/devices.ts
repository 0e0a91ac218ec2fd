/**
 * The devices that can be added to a machine. The order is that in which a board
 * finds places for them, so a new one is added at the end.
 */
import { many, one } from "./device-table.ts";
import { DEBUG_EXIT } from "./devices/debug-exit.ts";
import { GENERATION_ID } from "./devices/generation-id.ts";
import { VIRTIO_BALLOON } from "./devices/virtio-balloon.ts";
import { VIRTIO_BLK } from "./devices/virtio-blk.ts";
import { VIRTIO_NET } from "./devices/virtio-net.ts";
import { VIRTIO_RNG } from "./devices/virtio-rng.ts";
import { VIRTIO_SCSI } from "./devices/virtio-scsi.ts";
import { VIRTIO_VSOCK } from "./devices/virtio-vsock.ts";
import { table } from "./schema.ts";

export const DEVICES = table({
  /** Disks, in the order in which the guest finds them. Default: `[]`. */
  drives: many(VIRTIO_BLK, { help: "disks, in the order in which the guest finds them" }),
  /** Adds a virtio entropy device. Default: `false`. */
  rng: one(VIRTIO_RNG, { help: "adds a virtio entropy device" }),
  /** Adds a virtio memory balloon: see `vm.balloon`. Default: `false`. */
  balloon: one(VIRTIO_BALLOON, { help: "adds a virtio memory balloon: see `vm.balloon`" }),
  /** Network cards, in the order in which the guest finds them. Default: `[]`. */
  network: many(VIRTIO_NET, { help: "network cards, in the order in which the guest finds them" }),
  /**
   * SCSI controllers, for drives with `interface: "scsi"`. Default: `[]`, and one if there is such a drive.
   */
  scsi: many(VIRTIO_SCSI, {
    help: 'SCSI controllers, for drives with `interface: "scsi"`',
    otherwise: "`[]`, and one if there is such a drive",
    isSaved: true,
  }),
  /**
   * Adds a vsock device, for streams between programs of the guest and this one: see `vm.vsock`. Default:
   * `false`.
   */
  vsock: one(VIRTIO_VSOCK, {
    help: "adds a vsock device, for streams between programs of the guest and this one: see `vm.vsock`",
    see: "network.md#vsock",
  }),
});

/** Devices that every machine has. A -device may name them. */
export const BUILT_IN = [DEBUG_EXIT, GENERATION_ID];
