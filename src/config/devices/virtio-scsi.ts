/**
 * Options of a SCSI controller.
 *
 * Source: QEMU 11.1, the properties that `-device virtio-scsi-pci,help` lists.
 */
import { device, ID } from "../device-table.ts";
import { type Filled, table } from "../schema.ts";
import { integer } from "../value.ts";
import { DISABLE_LEGACY, DISABLE_MODERN, PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";
import { queueSize } from "./queue-size.ts";

const MAX_QUEUES = 64;

const OPTIONS = table({
  /** Request queues. Default: one per CPU. */
  queues: {
    type: integer(1, MAX_QUEUES),
    otherwise: "one per CPU",
    qemu: { device: ["num_queues", "num-queues"] },
    help: "request queues",
  },
  /** Descriptors of each queue: a power of two. Default: `256`. */
  queueSize: {
    type: queueSize,
    default: 256,
    qemu: { device: ["virtqueue_size", "queue-size"] },
    help: "descriptors of each queue: a power of two",
  },
  /** A name that no other device of the machine has. */
  id: ID,
  /** Of a pc: its slot on the PCI bus, in hexadecimal. Default: the next free one. */
  addr: PCI_ADDRESS,
  /** Of a pc: the device has only the legacy interface, which Linux before 4.0 needs. Default: `false`. */
  disableModern: DISABLE_MODERN,
  /** Of a pc: the device has only the interface of VIRTIO 1.0 and later. Default: `false`. */
  disableLegacy: DISABLE_LEGACY,
});

export interface ScsiControllerConfig extends Filled<typeof OPTIONS> {
  readonly queues: number;
}

export const VIRTIO_SCSI = device({
  kind: "virtio-scsi",
  names: ["virtio-scsi-device", "virtio-scsi", "virtio-scsi-pci"],
  help: "a controller for scsi-hd",
  options: OPTIONS,
  deviceKeys: PCI_DEVICE_KEYS,
  finish: (controller, _where, { cpus }): ScsiControllerConfig => ({
    ...controller,
    queues: controller.queues ?? Math.min(cpus, MAX_QUEUES),
  }),
});
