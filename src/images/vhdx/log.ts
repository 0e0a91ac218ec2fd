/**
 * The log of a VHDX image: whether changes wait in it. A header that names a log says
 * only that somebody opened the image for writing, and perhaps did not close it; the log
 * is empty if it has no valid entry of that opening.
 *
 * Source: MS-VHDX, 2.3 Log, whose names are used.
 */
import type { HostFile } from "../../sys/file.ts";
import { crc32c } from "./crc32c.ts";

const SECTOR_BYTES = 4096;
/** Logs are of some MiB. A longer one is not searched, but taken for one with changes. */
const MAX_LOG_BYTES = 64 * 2 ** 20;
/** Times the length of a log that are read of entries, which may claim to overlap. */
const MOST_PASSES = 4;

const ENTRY_SIGNATURE = 0x65676f6c; // "loge"
// Offsets in an entry's header.
const CHECKSUM = 4;
const ENTRY_LENGTH = 8;
const TAIL = 12;
const LOG_GUID = 32;
const GUID_BYTES = 16;

/** True if the log has a valid entry with this GUID, or cannot be searched. @throws {SystemError} */
export function hasChanges(file: HostFile, offset: number, length: number, guid: Uint8Array): boolean {
  if (length > MAX_LOG_BYTES || length % SECTOR_BYTES !== 0 || offset + length > file.size) return true;
  const log = Buffer.alloc(length);
  file.read(log, offset);
  let left = MOST_PASSES * length;
  for (let at = 0; at < length; at += SECTOR_BYTES) {
    const entryLength = lengthOfEntry(log, at, guid);
    if (entryLength === undefined) continue;
    left -= entryLength;
    if (left < 0) return true;
    // A log is a ring: an entry may go on at its beginning.
    const first = log.subarray(at, at + entryLength);
    const entry = Buffer.concat([first, log.subarray(0, entryLength - first.length)]);
    if (crc32c(entry, CHECKSUM) === entry.readUInt32LE(CHECKSUM)) return true;
  }
  return false;
}

/** Undefined unless an entry's header is there. */
function lengthOfEntry(log: Buffer, at: number, guid: Uint8Array): number | undefined {
  if (log.readUInt32LE(at) !== ENTRY_SIGNATURE) return undefined;
  const length = log.readUInt32LE(at + ENTRY_LENGTH);
  if (length === 0 || length % SECTOR_BYTES !== 0 || length > log.length) return undefined;
  if (log.readUInt32LE(at + TAIL) % SECTOR_BYTES !== 0) return undefined;
  return log.compare(guid, 0, GUID_BYTES, at + LOG_GUID, at + LOG_GUID + GUID_BYTES) === 0
    ? length
    : undefined;
}
