/**
 * The registers of a virtio device on PCI: offsets in its windows, in bytes. Which
 * window is in which BAR, and where, the device itself says in its capabilities;
 * the places are those that QEMU has.
 *
 * Source: VIRTIO 1.2, 4.1.4.3 (Common configuration structure layout), 4.1.4.10
 * (Legacy Interfaces: A Note on PCI Device Layout).
 */

// The windows of the modern interface, in their BAR.
export const COMMON_WINDOW = 0x0000;
export const ISR_WINDOW = 0x1000;
export const DEVICE_WINDOW = 0x2000;
export const NOTIFY_WINDOW = 0x3000;
export const WINDOW_BYTES = 0x1000;
export const MODERN_BAR_BYTES = 0x4000;
/** Bytes between the notification addresses of two queues: notify_off_multiplier. */
export const NOTIFY_STRIDE = 4;

// The common configuration structure.
export const DEVICE_FEATURE_SELECT = 0;
export const DEVICE_FEATURE = 4;
export const DRIVER_FEATURE_SELECT = 8;
export const DRIVER_FEATURE = 12;
export const CONFIG_MSIX_VECTOR = 16;
export const DEVICE_STATUS = 20;
export const QUEUE_SELECT = 22;
export const QUEUE_SIZE = 24;
export const QUEUE_MSIX_VECTOR = 26;
export const QUEUE_ENABLE = 28;
export const QUEUE_DESC = 32;
export const QUEUE_DRIVER = 40;
export const QUEUE_DEVICE = 48;

// The legacy interface: I/O ports.
export const LEGACY_DEVICE_FEATURES = 0;
export const LEGACY_DRIVER_FEATURES = 4;
export const LEGACY_QUEUE_ADDRESS = 8;
export const LEGACY_QUEUE_SIZE = 12;
export const LEGACY_QUEUE_SELECT = 14;
export const LEGACY_QUEUE_NOTIFY = 16;
export const LEGACY_DEVICE_STATUS = 18;
export const LEGACY_ISR_STATUS = 19;
/** The vectors stand before the device's configuration, but only while MSI-X is enabled. */
export const LEGACY_CONFIG_VECTOR = 20;
export const LEGACY_QUEUE_VECTOR = 22;
export const LEGACY_VECTOR_BYTES = 4;
/** The unit of a queue's address. */
export const LEGACY_PAGE = 4096;

// 4.1.4.5, ISR status.
export const ISR_QUEUE = 1;
export const ISR_CONFIG = 2;

/** 4.1.5.1.2: an event without a message. */
export const NO_VECTOR = 0xffff;
