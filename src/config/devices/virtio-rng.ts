import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { DISABLE_LEGACY, DISABLE_MODERN, PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";

const OPTIONS = table({
  /** A name that no other device of the machine has. */
  id: ID,
  /** Of a pc: its slot on the PCI bus, in hexadecimal. Default: the next free one. */
  addr: PCI_ADDRESS,
  /** Of a pc: the device has only the legacy interface, which Linux before 4.0 needs. Default: `false`. */
  disableModern: DISABLE_MODERN,
  /** Of a pc: the device has only the interface of VIRTIO 1.0 and later. Default: `false`. */
  disableLegacy: DISABLE_LEGACY,
});

export const VIRTIO_RNG = device({
  kind: "virtio-rng",
  names: ["virtio-rng-device", "virtio-rng", "virtio-rng-pci"],
  help: "a source of random numbers, from the host's",
  options: OPTIONS,
  deviceKeys: PCI_DEVICE_KEYS,
});
