/**
 * The address map of the microvm: guest-physical addresses, I/O ports and
 * interrupt numbers, in one place.
 *
 * RAM starts at 0, with a hole for devices below 4 GiB. RAM that does not fit
 * below the hole continues at 4 GiB, as on a PC.
 */
import { GIB } from "../base/units.ts";
import type { RamRegion } from "../memory/guest-memory.ts";

/** First address of the hole below 4 GiB, and of the RAM above it. */
export const HOLE = 3 * GIB;
export const HIGH_RAM = 4 * GIB;

/** virtio-mmio windows, one every VIRTIO_MMIO_STRIDE bytes. */
export const VIRTIO_MMIO = 0xfeb0_0000;
export const VIRTIO_MMIO_STRIDE = 0x1000;

export const IOAPIC = 0xfec0_0000;
/** Of a pc with a high precision event timer. */
export const HPET_ADDRESS = 0xfed0_0000;
export const HPET_BYTES = 0x400;
export const LOCAL_APIC = 0xfee0_0000;

/** Pages below 4 GiB that KVM on Intel uses itself: api.rst 4.34 KVM_SET_TSS_ADDR and 4.40. Firmware of up to 16 MiB is above. */
export const IDENTITY_MAP = 0xfeff_c000;
export const TSS = 0xfeff_d000;

/** COM1 to COM4. COM3 and COM4 have their own lines, because an edge-triggered ISA line cannot be shared. */
export const SERIAL = [
  { name: "com1", port: 0x3f8, irq: 4 },
  { name: "com2", port: 0x2f8, irq: 3 },
  { name: "com3", port: 0x3e8, irq: 5 },
  { name: "com4", port: 0x2e8, irq: 7 },
] as const;

export const CMOS_PORT = 0x70;
export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;
export const I8042_IRQ = 1;
export const POST_CODE_PORT = 0x80;
export const DEBUG_CONSOLE_PORTS = [0xe9, 0x402] as const;
export const DEBUG_EXIT_PORT = 0xf4;

/** ACPI fixed hardware: one window of 16 ports. */
export const ACPI_PM_PORT = 0x600;
export const SCI_IRQ = 9;

/** Pulsed when the VM generation ID has changed. A guest that does not expect it has it masked, as BIOSes leave it. */
export const GENERATION_ID_IRQ = 15;

/** Inputs of the I/O APIC for virtio devices: those above the ISA range, then the free ISA ones. */
export const VIRTIO_IRQS: readonly number[] = [16, 17, 18, 19, 20, 21, 22, 23, 10, 11, 12, 6];

/** Inputs of the I/O APIC; a message-signalled interrupt has a number from here on. */
export const FIRST_MESSAGE_GSI = 24;

/** Divides `size` bytes of RAM around the hole. */
export function ramRegions(size: number): RamRegion[] {
  const low = { address: 0, size: Math.min(size, HOLE), offset: 0 };
  return size <= HOLE ? [low] : [low, { address: HIGH_RAM, size: size - HOLE, offset: HOLE }];
}
