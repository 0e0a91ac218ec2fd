/**
 * The registers of one ATA or ATAPI device: its half of the task file, its modes,
 * the data that a driver is transferring, and what the device asks of the io thread.
 */
import { layout } from "../base/layout.ts";

/** Sectors that the io thread reads or writes at once for a driver without DMA: 64. */
export const BUFFER_BYTES = 64 * 512;

/** What the driver may do with the data register. */
export const PHASE_NONE = 0;
export const PHASE_IN = 1;
export const PHASE_OUT = 2;
/** It writes the 12 bytes of a packet. */
export const PHASE_PACKET = 3;

/** What the io thread has to do. It takes the request when nothing of the device is in flight. */
export const REQUEST_NONE = 0;
/** Storage to buffer. */
export const REQUEST_READ = 1;
/** Buffer to storage. */
export const REQUEST_WRITE = 2;
/** Storage to the guest's memory. */
export const REQUEST_READ_DMA = 3;
/** The guest's memory to storage. */
export const REQUEST_WRITE_DMA = 4;
export const REQUEST_FLUSH = 5;
/** Buffer to the guest's memory. */
export const REQUEST_COPY_DMA = 6;

export const DriveState = layout("ide-drive", 1, {
  mediaSectors: "f64", // of 512 bytes; 0 without a medium
  lba: "f64", // of the sector that is transferred next
  requestOffset: "f64", // bytes, from the start of the disk
  requestBytes: "f64",
  dmaDone: "f64", // bytes that earlier requests of the command have moved by DMA
  sectors: "u32", // those that no request has asked for yet; blocks of a CD
  at: "u32", // where in the buffer the driver reads or writes
  end: "u32", // where the present block ends
  filled: "u32", // where the data ends
  serial: "u32", // counts commands and resets: an answer to an older one is dropped
  feature: "u8",
  count: "u8",
  lbaLow: "u8",
  lbaMid: "u8",
  lbaHigh: "u8",
  hobFeature: "u8", // what the registers held before: the high bytes of LBA48
  hobCount: "u8",
  hobLow: "u8",
  hobMid: "u8",
  hobHigh: "u8",
  device: "u8",
  error: "u8",
  status: "u8",
  interrupt: "u8", // INTRQ is pending
  command: "u8", // the last one
  phase: "u8",
  request: "u8",
  requestDsync: "u8", // the bytes have to be on stable storage
  busy: "u8", // the io thread is carrying out a request
  multiple: "u8", // sectors between two interrupts of READ MULTIPLE; 0: not set
  heads: "u8", // of the translation that INITIALIZE DEVICE PARAMETERS chose
  sectorsPerTrack: "u8",
  writeCache: "u8",
  lookAhead: "u8",
  smart: "u8",
  transferMode: "u8", // as SET FEATURES chose it
  standby: "u8",
  // Of a CD drive:
  byteLimitLow: "u8", // of a data block, as the driver set it with the packet command
  byteLimitHigh: "u8",
  packetDma: "u8",
  rawBlocks: "u8", // READ CD wants blocks with their headers
  sense: "u8",
  asc: "u8",
  ascq: "u8",
  attention: "u8", // one of the causes below: the next command reports it
  mediaEvent: "u8", // for GET EVENT STATUS NOTIFICATION
  trayOpen: "u8",
  locked: "u8",
  ejectWanted: "u8", // somebody pressed the button of a locked drive
  packet: { bytes: 12 },
  buffer: { bytes: BUFFER_BYTES },
});

export type DriveRegisters = ReturnType<typeof DriveState.view>;
