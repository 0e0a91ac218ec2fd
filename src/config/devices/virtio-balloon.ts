/**
 * A memory balloon. Source: QEMU 7.2, virtio-balloon-device; its names are those of
 * its properties.
 */
import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { flag } from "../value.ts";
import { DISABLE_LEGACY, DISABLE_MODERN, PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";

const OPTIONS = table({
  /** A name that no other device of the machine has. */
  id: ID,
  /** The guest may take memory back by itself before it runs out of it. Default: `false`. */
  deflateOnOom: {
    type: flag,
    default: false,
    qemu: { device: ["deflate-on-oom"] },
    help: "the guest may take memory back by itself before it runs out of it",
  },
  /** The guest reports memory that it does not use, and the host gets it back. Default: `false`. */
  freePageReporting: {
    type: flag,
    default: false,
    qemu: { device: ["free-page-reporting"] },
    help: "the guest reports memory that it does not use, and the host gets it back",
  },
  /** Of a pc: its slot on the PCI bus, in hexadecimal. Default: the next free one. */
  addr: PCI_ADDRESS,
  /** Of a pc: the device has only the legacy interface, which Linux before 4.0 needs. Default: `false`. */
  disableModern: DISABLE_MODERN,
  /** Of a pc: the device has only the interface of VIRTIO 1.0 and later. Default: `false`. */
  disableLegacy: DISABLE_LEGACY,
});

export const VIRTIO_BALLOON = device({
  kind: "virtio-balloon",
  names: ["virtio-balloon-device", "virtio-balloon", "virtio-balloon-pci"],
  help: "takes memory back from the guest while it runs, and asks how much it uses",
  options: OPTIONS,
  deviceKeys: PCI_DEVICE_KEYS,
});
