/**
 * Numbers of the NBD protocol, by their names there, and its errors.
 *
 * Source: "The NBD protocol" (NetworkBlockDevice/nbd, doc/proto.md), sections
 * "Values" and "Structured reply flags". All numbers are big-endian.
 *
 * Implemented: the fixed newstyle handshake with TLS, simple and structured replies,
 * and the metadata context base:allocation. Not implemented: the oldstyle handshake,
 * extended headers, CACHE, RESIZE.
 */
import { constants } from "node:os";

export const DEFAULT_PORT = 10809;

// Handshake.
export const NBDMAGIC = 0x4e42444d41474943n; // "NBDMAGIC"
export const IHAVEOPT = 0x49484156454f5054n; // "IHAVEOPT"
export const CLISERV_MAGIC = 0x00420281861253n; // in IHAVEOPT's place: the oldstyle handshake
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;

export const FLAG_FIXED_NEWSTYLE = 1;
export const FLAG_NO_ZEROES = 2;

export const OPT_EXPORT_NAME = 1;
export const OPT_ABORT = 2;
export const OPT_LIST = 3;
export const OPT_STARTTLS = 5;
export const OPT_INFO = 6;
export const OPT_GO = 7;
export const OPT_STRUCTURED_REPLY = 8;
export const OPT_LIST_META_CONTEXT = 9;
export const OPT_SET_META_CONTEXT = 10;

export const REP_ACK = 1;
export const REP_SERVER = 2;
export const REP_INFO = 3;
export const REP_META_CONTEXT = 4;
export const REP_FLAG_ERROR = 0x80000000;
export const REP_ERR_UNSUP = 0x80000001;
export const REP_ERR_POLICY = 0x80000002;
export const REP_ERR_INVALID = 0x80000003;
export const REP_ERR_TLS_REQD = 0x80000005;
export const REP_ERR_UNKNOWN = 0x80000006;
export const REP_ERR_BLOCK_SIZE_REQD = 0x80000008;
export const REP_ERR_TOO_BIG = 0x80000009;

export const INFO_EXPORT = 0;
export const INFO_NAME = 1;
export const INFO_DESCRIPTION = 2;
export const INFO_BLOCK_SIZE = 3;

// Transmission flags: the features of an export.
export const FLAG_HAS_FLAGS = 1 << 0;
export const FLAG_READ_ONLY = 1 << 1;
export const FLAG_SEND_FLUSH = 1 << 2;
export const FLAG_SEND_FUA = 1 << 3;
export const FLAG_SEND_TRIM = 1 << 5;
export const FLAG_SEND_WRITE_ZEROES = 1 << 6;
export const FLAG_SEND_DF = 1 << 7;
export const FLAG_CAN_MULTI_CONN = 1 << 8;

// Transmission.
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const STRUCTURED_REPLY_BYTES = 20;

export const CMD_READ = 0;
export const CMD_WRITE = 1;
export const CMD_DISC = 2;
export const CMD_FLUSH = 3;
export const CMD_TRIM = 4;
export const CMD_WRITE_ZEROES = 6;
export const CMD_BLOCK_STATUS = 7;

export const CMD_FLAG_FUA = 1 << 0;
export const CMD_FLAG_NO_HOLE = 1 << 1;
export const CMD_FLAG_DF = 1 << 2;
export const CMD_FLAG_REQ_ONE = 1 << 3;

export const REPLY_FLAG_DONE = 1;
export const REPLY_TYPE_NONE = 0;
export const REPLY_TYPE_OFFSET_DATA = 1;
export const REPLY_TYPE_OFFSET_HOLE = 2;
export const REPLY_TYPE_BLOCK_STATUS = 5;
export const REPLY_TYPE_ERROR = 0x8001;
export const REPLY_TYPE_ERROR_OFFSET = 0x8002;
export const REPLY_TYPE_IS_ERROR = 0x8000;

export const BASE_ALLOCATION = "base:allocation";
export const STATE_HOLE = 1;
export const STATE_ZERO = 2;

/** Bytes of a string, section "Conventions". */
export const MAX_STRING = 4096;
/** Bytes of data in one request or reply without another agreement, section "Block size constraints". */
export const MAX_PAYLOAD = 2 ** 25;

const { EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, EROFS, EDQUOT, EFBIG, EACCES } =
  constants.errno;
/** Node has no name for it. */
const ESHUTDOWN = 108;

/** Errors of the protocol have Linux's numbers; others are not allowed in a reply. */
const WIRE_ERRORS: ReadonlySet<number> = new Set([
  EPERM,
  EIO,
  ENOMEM,
  EINVAL,
  ENOSPC,
  EOVERFLOW,
  ENOTSUP,
  ESHUTDOWN,
]);

/** The protocol's error for -errno. */
export function wireError(errno: number): number {
  const positive = -errno;
  if (positive === EROFS || positive === EACCES) return EPERM;
  if (positive === EDQUOT || positive === EFBIG) return ENOSPC;
  return WIRE_ERRORS.has(positive) ? positive : EIO;
}

/** -errno for the protocol's error. */
export function errnoOnWire(error: number): number {
  return WIRE_ERRORS.has(error) ? -error : -EIO;
}
