/** Devices of QEMU that are not built, with what to do instead. */

const REFUSED: readonly (readonly [names: RegExp, why: string])[] = [
  [
    /^(e1000|rtl8139|ne2k|pcnet|i825|vmxnet|igb|tulip)/,
    "this version does not have that card; use virtio-net, or e1000 on a pc",
  ],
  [
    /^(usb-|u2f-|ccid-card|piix4-usb|ich9-usb|nec-usb|qemu-xhci|pci-ohci|.*-[eu]hci)/,
    "this machine has no USB",
  ],
  [
    /^(VGA|isa-vga|secondary-vga|.*-vga|virtio-gpu.*|vhost-user-(gpu|vga)|qxl|bochs-display|ramfb|vmware-svga)$/,
    "this machine has no display; its console is -serial",
  ],
  [/^(virtio-serial|virtserialport|virtconsole)/, "this version has no virtio-serial; use isa-serial"],
  [
    /^(intel-hda|ich9-intel-hda|hda-|AC97|ES1370|sb16|adlib|cs4231a|gus|virtio-sound)/,
    "this machine has no sound",
  ],
  [/^scsi-/, "this version has SCSI disks only: scsi-hd"],
  [/^(ahci|ich9-ahci|nvme|sdhci|sd-card|floppy|isa-fdc)/, "use ide-hd on a pc, or virtio-blk"],
  [/^(lsi53|megasas|mptsas|pvscsi|dc390|am53c974|esp)/, "this version has one SCSI controller: virtio-scsi"],
  [/^(pci-bridge|pcie-|ioh3420|x3130|xio3130|pxb|i82801b11)/, "this machine has one PCI bus, pci.0"],
  [/^(i6300esb|ib700)/, "this machine has no watchdog"],
  [
    /^(tpm-|vfio-|vhost-|virtio-9p|virtio-iommu|virtio-crypto|ivshmem|pvpanic)/,
    "this version does not have it",
  ],
];

/** Why a device of QEMU is refused; undefined for any other name. */
export function whyNoDevice(name: string): string | undefined {
  return REFUSED.find(([names]) => names.test(name))?.[1];
}
