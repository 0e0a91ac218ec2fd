/**
 * The names of the registers of the machine's devices, for people who read a trace.
 *
 * Names are the devices' own (src/devices/, src/virtio/transport/mmio-registers.ts), by offset from
 * the device's lowest address. A device that is not listed here has
 * no names. Where reading and writing access different registers, a colon separates the
 * names; the register that is read comes first.
 */

type Names = Readonly<Record<number, string>>;

/** While LCR.DLAB is set, the divisor latch answers at offsets 0 and 1; an access does not show this. */
const UART16550: Names = {
  0: "RBR:THR",
  1: "IER",
  2: "IIR:FCR",
  3: "LCR",
  4: "MCR",
  5: "LSR",
  6: "MSR",
  7: "SCR",
};

/** VIRTIO 1.2, 4.2.2; from 0x100 on is the configuration of the device type. */
const VIRTIO_MMIO: Names = {
  0: "MagicValue",
  4: "Version",
  8: "DeviceID",
  12: "VendorID",
  16: "DeviceFeatures",
  20: "DeviceFeaturesSel",
  32: "DriverFeatures",
  36: "DriverFeaturesSel",
  48: "QueueSel",
  52: "QueueNumMax",
  56: "QueueNum",
  68: "QueueReady",
  80: "QueueNotify",
  96: "InterruptStatus",
  100: "InterruptACK",
  112: "Status",
  128: "QueueDescLow",
  132: "QueueDescHigh",
  144: "QueueDriverLow",
  148: "QueueDriverHigh",
  160: "QueueDeviceLow",
  164: "QueueDeviceHigh",
  172: "SHMSel",
  176: "SHMLenLow",
  180: "SHMLenHigh",
  184: "SHMBaseLow",
  188: "SHMBaseHigh",
  252: "ConfigGeneration",
};
const VIRTIO_CONFIG = 0x100;

const DEVICES: readonly (readonly [name: RegExp, names: Names])[] = [
  [/^com\d$/, UART16550],
  [/^cmos$/, { 0: "index", 1: "data" }],
  [/^i8042$/, { 0: "data", 4: "status:command" }],
  [/^acpi-pm$/, { 0: "PM1_STS", 2: "PM1_EN", 4: "PM1_CNT", 8: "PM_TMR", 12: "RESET_REG" }],
  [/^virtio-/, VIRTIO_MMIO],
];

/**
 * @param offset from the device's lowest address
 * @returns undefined if the register has no name of its own
 */
export function registerName(device: string, offset: number, write: boolean): string | undefined {
  const found = DEVICES.find(([pattern]) => pattern.test(device));
  if (found === undefined) return undefined;
  const [, names] = found;
  if (names === VIRTIO_MMIO && offset >= VIRTIO_CONFIG) return `config+${offset - VIRTIO_CONFIG}`;
  const [read, written = read] = (names[offset] ?? "").split(":");
  return (write ? written : read) || undefined;
}
