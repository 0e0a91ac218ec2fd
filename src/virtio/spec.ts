/**
 * Numbers of VIRTIO 1.2 (OASIS, 1 July 2022) that more than one file needs,
 * under the names the specification gives them. What belongs to one device
 * type stands in that device's file.
 */

// 2.1, Device Status Field.
export const ACKNOWLEDGE = 1;
export const DRIVER = 2;
export const DRIVER_OK = 4;
export const FEATURES_OK = 8;
export const DEVICE_NEEDS_RESET = 64;
export const FAILED = 128;

// 5, Device Types.
export const DEVICE_ID_BLOCK = 2;
export const DEVICE_ID_ENTROPY = 4;

// 6, Reserved Feature Bits, as masks: those below 32 in the low word, the rest in the high word.
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

// 4.2.2, MMIO Device Register Layout: offsets.
export const MAGIC_VALUE = 0x000;
export const VERSION = 0x004;
export const DEVICE_ID = 0x008;
export const VENDOR_ID = 0x00c;
export const DEVICE_FEATURES = 0x010;
export const DEVICE_FEATURES_SEL = 0x014;
export const DRIVER_FEATURES = 0x020;
export const DRIVER_FEATURES_SEL = 0x024;
export const QUEUE_SEL = 0x030;
export const QUEUE_NUM_MAX = 0x034;
export const QUEUE_NUM = 0x038;
export const QUEUE_READY = 0x044;
export const QUEUE_NOTIFY = 0x050;
export const INTERRUPT_STATUS = 0x060;
export const INTERRUPT_ACK = 0x064;
export const STATUS = 0x070;
export const QUEUE_DESC_LOW = 0x080;
export const QUEUE_DESC_HIGH = 0x084;
export const QUEUE_DRIVER_LOW = 0x090;
export const QUEUE_DRIVER_HIGH = 0x094;
export const QUEUE_DEVICE_LOW = 0x0a0;
export const QUEUE_DEVICE_HIGH = 0x0a4;
export const SHM_SEL = 0x0ac;
export const SHM_LEN_LOW = 0x0b0;
export const SHM_LEN_HIGH = 0x0b4;
export const SHM_BASE_LOW = 0x0b8;
export const SHM_BASE_HIGH = 0x0bc;
export const CONFIG_GENERATION = 0x0fc;
export const CONFIG = 0x100;

/** Length of a virtio-mmio window: the registers and 256 bytes of device configuration. */
export const MMIO_BYTES = 0x200;

// 4.2.2, InterruptStatus.
export const INT_USED_BUFFER = 1;
export const INT_CONFIG_CHANGE = 2;
