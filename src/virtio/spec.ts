/**
 * Numbers of VIRTIO 1.2 (OASIS, 1 July 2022) that more than one file needs,
 * under the names that the specification gives them. Numbers of one device type
 * are in that device's file.
 */

// 2.1, Device Status Field.
export const ACKNOWLEDGE = 1;
export const DRIVER = 2;
export const DRIVER_OK = 4;
export const FEATURES_OK = 8;
export const DEVICE_NEEDS_RESET = 64;
export const FAILED = 128;

// 5, Device Types.
export const DEVICE_ID_NETWORK = 1;
export const DEVICE_ID_BLOCK = 2;
export const DEVICE_ID_ENTROPY = 4;
export const DEVICE_ID_BALLOON = 5;
export const DEVICE_ID_SCSI = 8;
export const DEVICE_ID_SOCKET = 19;

// 6, Reserved Feature Bits, as masks: those below 32 in the low word, the rest in the high word.
/** 6.3, Legacy Interface: Reserved Feature Bits. */
export const F_ANY_LAYOUT_LOW = 1 << 27;
export const F_INDIRECT_DESC_LOW = 1 << 28;
export const F_EVENT_IDX_LOW = 1 << 29;
export const F_VERSION_1_HIGH = 1 << (32 - 32);

// 2.7.5, The Virtqueue Descriptor Table.
export const DESC_BYTES = 16;
export const DESC_F_NEXT = 1;
export const DESC_F_WRITE = 2;
export const DESC_F_INDIRECT = 4;

// 2.7.6 and 2.7.8, flags of the available and the used ring.
export const AVAIL_F_NO_INTERRUPT = 1;
export const USED_F_NO_NOTIFY = 1;

// 2.7, Virtqueues: alignment of the three parts, in bytes.
export const DESC_ALIGNMENT = 16;
export const AVAIL_ALIGNMENT = 2;
export const USED_ALIGNMENT = 4;
