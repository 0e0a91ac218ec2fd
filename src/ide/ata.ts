/**
 * Names and numbers of ATA and ATAPI.
 *
 * Source: ATA/ATAPI-7 (T13/1532D volume 1), section 5.9 (registers) and 6 (commands);
 * names are those of <linux/ata.h>, to read beside a guest's trace.
 */

// Registers of the command block, and in place of a ninth the device control register.
export const DATA = 0;
export const FEATURE_ERROR = 1;
export const COUNT = 2;
export const LBA_LOW = 3;
export const LBA_MID = 4;
export const LBA_HIGH = 5;
export const DEVICE = 6;
export const COMMAND_STATUS = 7;
export const CONTROL = 8;

export const DEV_LBA = 0x40;
export const DEV_1 = 0x10;
/** Bits 7 and 5 of the device register are obsolete and read as one. */
export const DEV_OBSOLETE = 0xa0;

export const CTL_HOB = 0x80;
export const CTL_SRST = 0x04;
export const CTL_NIEN = 0x02;

export const BSY = 0x80;
export const DRDY = 0x40;
export const DSC = 0x10;
export const DRQ = 0x08;
export const ERR = 0x01;

export const ERR_UNC = 0x40;
export const ERR_IDNF = 0x10;
export const ERR_ABRT = 0x04;
/** After a reset the error register holds the result of the diagnostic: 1, passed. */
export const DIAGNOSTIC_PASSED = 0x01;

/** Interrupt reason, in the count register of a packet command: command (or status) phase, to the host. */
export const REASON_COMMAND = 0x01;
export const REASON_TO_HOST = 0x02;

export const CMD_DEVICE_RESET = 0x08;
export const CMD_RECALIBRATE = 0x10;
export const CMD_READ = 0x20;
export const CMD_READ_NO_RETRY = 0x21;
export const CMD_READ_EXT = 0x24;
export const CMD_READ_DMA_EXT = 0x25;
export const CMD_READ_NATIVE_MAX_EXT = 0x27;
export const CMD_READ_MULTIPLE_EXT = 0x29;
export const CMD_WRITE = 0x30;
export const CMD_WRITE_NO_RETRY = 0x31;
export const CMD_WRITE_EXT = 0x34;
export const CMD_WRITE_DMA_EXT = 0x35;
export const CMD_WRITE_MULTIPLE_EXT = 0x39;
export const CMD_WRITE_DMA_FUA_EXT = 0x3d;
export const CMD_VERIFY = 0x40;
export const CMD_VERIFY_NO_RETRY = 0x41;
export const CMD_VERIFY_EXT = 0x42;
export const CMD_SEEK = 0x70;
export const CMD_DIAGNOSTIC = 0x90;
export const CMD_INITIALIZE_PARAMETERS = 0x91;
export const CMD_PACKET = 0xa0;
export const CMD_IDENTIFY_PACKET = 0xa1;
export const CMD_SMART = 0xb0;
export const CMD_READ_MULTIPLE = 0xc4;
export const CMD_WRITE_MULTIPLE = 0xc5;
export const CMD_SET_MULTIPLE = 0xc6;
export const CMD_READ_DMA = 0xc8;
export const CMD_READ_DMA_NO_RETRY = 0xc9;
export const CMD_WRITE_DMA = 0xca;
export const CMD_WRITE_DMA_NO_RETRY = 0xcb;
export const CMD_WRITE_MULTIPLE_FUA_EXT = 0xce;
export const CMD_STANDBY_IMMEDIATE = 0xe0;
export const CMD_IDLE_IMMEDIATE = 0xe1;
export const CMD_STANDBY = 0xe2;
export const CMD_IDLE = 0xe3;
export const CMD_CHECK_POWER = 0xe5;
export const CMD_SLEEP = 0xe6;
export const CMD_FLUSH = 0xe7;
export const CMD_FLUSH_EXT = 0xea;
export const CMD_IDENTIFY = 0xec;
export const CMD_SET_FEATURES = 0xef;
export const CMD_READ_NATIVE_MAX = 0xf8;

/** Their numbers before ATA-3, which old drivers still use: 0x94 to 0x99. */
export const CMD_OLD_STANDBY_IMMEDIATE = 0x94;
export const CMD_OLD_IDLE_IMMEDIATE = 0x95;
export const CMD_OLD_STANDBY = 0x96;
export const CMD_OLD_IDLE = 0x97;
export const CMD_OLD_CHECK_POWER = 0x98;
export const CMD_OLD_SLEEP = 0x99;

/** SET FEATURES, in the feature register: the mode is in the count register. ATA/ATAPI-7, 6.51. */
export const FEATURE_TRANSFER_MODE = 0x03;

/** Sectors that READ and WRITE MULTIPLE move between two interrupts, at most. */
export const MAX_MULTIPLE = 16;
/** 255 sectors of 16 heads of 65536 cylinders, less than 2^28. */
export const LBA28_SECTORS = 2 ** 28;
