/**
 * The vendor's capabilities of a virtio device on PCI: they say where the windows
 * of its modern interface are. One of them is a window itself, through which
 * firmware reaches the registers without mapping a BAR.
 *
 * Source: VIRTIO 1.2, 4.1.4 (Virtio Structure PCI Capabilities), 4.1.4.9 (PCI
 * configuration access capability). They are where QEMU has them.
 */
import { layout } from "../../base/layout.ts";
import { littleEndian } from "../../base/little-endian.ts";
import type { AccessSize, AfterWrite, IoDevice } from "../../bus/io.ts";
import type { CapabilitySpec } from "../../pci/config-space.ts";
import * as pci from "./pci-registers.ts";

const PCI_CAP_ID_VNDR = 0x09;

// cfg_type.
const CAP_COMMON_CFG = 1;
const CAP_NOTIFY_CFG = 2;
const CAP_ISR_CFG = 3;
const CAP_DEVICE_CFG = 4;
const CAP_PCI_CFG = 5;

// struct virtio_pci_cap, and what follows it in two of them.
const CAP_LEN = 2;
const CFG_TYPE = 3;
const BAR = 4;
const OFFSET = 8;
const LENGTH = 12;
const CAP_BYTES = 16;
const NOTIFY_OFF_MULTIPLIER = 16;
const PCI_CFG_DATA = 16;
const LONG_CAP_BYTES = 20;

/** The capability of the window in configuration space; its bar, offset and length are the driver's. */
export const PciWindowState = layout("virtio-pci-window", 1, { bytes: { bytes: LONG_CAP_BYTES } });

/**
 * @param bar of the modern interface
 * @param modern the chip that answers there
 * @returns the last one first, as QEMU links them
 */
export function modernCapabilities(
  bar: number,
  modern: IoDevice,
  window: ReturnType<typeof PciWindowState.view>,
): readonly CapabilitySpec[] {
  const notify = new DataView(new ArrayBuffer(LONG_CAP_BYTES));
  notify.setUint32(NOTIFY_OFF_MULTIPLIER, pci.NOTIFY_STRIDE, true);
  const bytes = () => new DataView(new ArrayBuffer(CAP_BYTES));
  return [
    new ConfigWindow(bar, modern, window),
    fixed(0x70, CAP_NOTIFY_CFG, bar, pci.NOTIFY_WINDOW, notify),
    fixed(0x60, CAP_DEVICE_CFG, bar, pci.DEVICE_WINDOW, bytes()),
    fixed(0x50, CAP_ISR_CFG, bar, pci.ISR_WINDOW, bytes()),
    fixed(0x40, CAP_COMMON_CFG, bar, pci.COMMON_WINDOW, bytes()),
  ];
}

/** A capability that nobody changes. */
function fixed(at: number, type: number, bar: number, offset: number, bytes: DataView): CapabilitySpec {
  bytes.setUint8(CAP_LEN, bytes.byteLength);
  bytes.setUint8(CFG_TYPE, type);
  bytes.setUint8(BAR, bar);
  bytes.setUint32(OFFSET, offset, true);
  bytes.setUint32(LENGTH, pci.WINDOW_BYTES, true);
  const length = bytes.byteLength;
  return {
    id: PCI_CAP_ID_VNDR,
    at,
    length,
    read: (from, size) => littleEndian(bytes, from, size),
    write() {},
  };
}

/** An access to its last field is one to the BAR, of the width and at the place that the driver wrote before. */
class ConfigWindow implements CapabilitySpec {
  readonly id = PCI_CAP_ID_VNDR;
  readonly at = 0x84;
  readonly length = LONG_CAP_BYTES;
  readonly #bar: number;
  readonly #target: IoDevice;
  readonly #bytes: DataView;

  constructor(bar: number, target: IoDevice, { bytes }: ReturnType<typeof PciWindowState.view>) {
    this.#bar = bar;
    this.#target = target;
    this.#bytes = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  read(offset: number, size: AccessSize): number {
    const bytes = this.#bytes;
    bytes.setUint8(CAP_LEN, LONG_CAP_BYTES);
    bytes.setUint8(CFG_TYPE, CAP_PCI_CFG);
    const length = this.#width;
    if (offset + size > PCI_CFG_DATA && length !== 0) {
      bytes.setUint32(PCI_CFG_DATA, this.#target.read(bytes.getUint32(OFFSET, true), length), true);
    }
    return littleEndian(bytes, offset, size);
  }

  // biome-ignore lint/suspicious/noConfusingVoidType: as IoDevice.write
  write(offset: number, size: AccessSize, value: number): AfterWrite | void {
    const bytes = this.#bytes;
    for (let i = 0; i < size && offset + i < LONG_CAP_BYTES; i++) {
      const at = offset + i;
      if (at === BAR || at >= OFFSET) bytes.setUint8(at, (value >>> (8 * i)) & 0xff);
    }
    if (offset !== PCI_CFG_DATA) return;
    const length = this.#width;
    if (length === 0) return;
    const data = bytes.getUint32(PCI_CFG_DATA, true) % 2 ** (8 * length);
    return this.#target.write(bytes.getUint32(OFFSET, true), length, data);
  }

  /** The width of the access; 0 if the driver asks for one that a BAR does not answer. */
  get #width(): AccessSize | 0 {
    const bytes = this.#bytes;
    const offset = bytes.getUint32(OFFSET, true);
    const length = bytes.getUint32(LENGTH, true);
    const fits = bytes.getUint8(BAR) === this.#bar && offset + length <= pci.MODERN_BAR_BYTES;
    if (!fits || offset % length !== 0) return 0;
    return length === 1 || length === 2 || length === 4 ? length : 0;
  }
}
