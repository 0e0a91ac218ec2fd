/** `-device piix3-usb-uhci`, which command lines of libvirt and Nova have even where no USB device is on it. */
import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";

export const UHCI = device({
  kind: "uhci",
  names: ["piix3-usb-uhci"],
  help: "accepted and ignored: USB devices are not supported",
  options: table({ id: ID, addr: PCI_ADDRESS }),
  deviceKeys: PCI_DEVICE_KEYS,
});
