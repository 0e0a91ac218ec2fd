/**
 * A vsock device. Source: QEMU 7.2, vhost-vsock-device; its names are those of its
 * properties.
 */
import { OptionError } from "../../base/errors.ts";
import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { flag, integer } from "../value.ts";
import { DISABLE_LEGACY, DISABLE_MODERN, PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";

/** 0 to 2 are the hypervisor, the guest itself, and the host. */
const FIRST_CID = 3;

const OPTIONS = table({
  /** The guest's address, as its programs see it. Default: `3`. */
  cid: {
    type: integer(FIRST_CID, 2 ** 32 - 2),
    default: FIRST_CID,
    qemu: { device: ["guest-cid"] },
    help: "the guest's address, as its programs see it",
  },
  /** The host's kernel connects the guest, so that any program of the host reaches it. Default: `false`. */
  vhost: {
    type: flag,
    default: false,
    help: "the host's kernel connects the guest, so that any program of the host reaches it",
  },
  /** With vhost: an open descriptor of /dev/vhost-vsock. */
  vhostFd: {
    type: integer(0, 2 ** 31 - 1, "FD"),
    qemu: { device: ["vhostfd"] },
    help: "with vhost: an open descriptor of /dev/vhost-vsock",
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

export const VIRTIO_VSOCK = device({
  kind: "virtio-vsock",
  names: ["vhost-vsock-device", "vhost-vsock-pci"],
  help: "streams between programs of the guest and of the host (AF_VSOCK)",
  options: OPTIONS,
  deviceKeys: PCI_DEVICE_KEYS,
  finish: (vsock, where) => {
    if (vsock.vhostFd !== undefined && !vsock.vhost) {
      throw new OptionError(`${where}: vhostFd is of no use without vhost`);
    }
    return vsock;
  },
});
