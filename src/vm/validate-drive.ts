/** Checks what a caller says of a drive, and puts QEMU's words for it into what each part of a disk does. */
import { OptionError } from "../base/errors.ts";
import { type DiskSource, sourceFacts } from "../disk/disk-source.ts";
import { DETECT_ZEROES, type DetectZeroes } from "../disk/guest-disk.ts";
import { THROTTLE_LIMITS, type ThrottleLimits } from "../disk/throttle.ts";
import { DRIVE_FORMATS, type DriveFormat } from "../images/drive.ts";
import { isNbdName } from "../nbd/address.ts";
import { ASYNC_ENGINES, type AsyncEngine } from "../sys/async-io.ts";
import { ERROR_POLICIES, type ErrorPolicy } from "../virtio/blk/blk-requests.ts";
import { checkKeys, integer, oneOf } from "./checks.ts";
import { CACHE_MODES, type CacheMode, type DriveOptions } from "./options.ts";

const MAX_SERIAL_NAME = 20; // VIRTIO 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID answers 20 bytes
const MAX_QUEUES = 64;
const MAX_CACHE_BYTES = 2 ** 31;

const DRIVE_KEYS = {
  file: "string",
  source: "object",
  format: "string",
  otherFiles: "string",
  cacheBytes: "number",
  readOnly: "boolean",
  serial: "string",
  queues: "number",
  writeCache: "boolean",
  cache: "string",
  aio: "string",
  discard: "string",
  detectZeroes: "string",
  rerror: "string",
  werror: "string",
  throttling: "object",
  snapshot: "boolean",
} as const;

const IMAGE_ONLY = ["otherFiles", "cacheBytes", "snapshot", "aio", "detectZeroes"] as const;

const LIMIT_KEYS = Object.fromEntries(THROTTLE_LIMITS.map((name) => [name, "number" as const]));

/** What cache= stands for. */
const CACHE: Record<CacheMode, { direct: boolean; writeCache: boolean; durable: boolean }> = {
  writeback: { direct: false, writeCache: true, durable: true },
  none: { direct: true, writeCache: true, durable: true },
  writethrough: { direct: false, writeCache: false, durable: true },
  directsync: { direct: true, writeCache: false, durable: true },
  unsafe: { direct: false, writeCache: true, durable: false },
};

/** A drive with every default but the format's: unless it is named, the image must not look like another. */
export interface CheckedDrive {
  /** "" if there is a source. */
  readonly file: string;
  readonly source: DiskSource | undefined;
  readonly format: DriveFormat | undefined;
  readonly otherFiles: "folder" | "anywhere";
  readonly cacheBytes: number | undefined;
  readonly readOnly: boolean;
  readonly serial: string;
  readonly queues: number;
  readonly writeCache: boolean;
  readonly direct: boolean;
  readonly durable: boolean;
  readonly engine: AsyncEngine;
  readonly discards: boolean;
  readonly detectZeroes: DetectZeroes;
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
  readonly throttling: ThrottleLimits | undefined;
  readonly snapshot: boolean;
}

/** @throws {OptionError} that names the option, what was given and what would do. */
export function checkDrive(drive: DriveOptions, index: number, cpus: number): CheckedDrive {
  const where = `drives[${index}]`;
  checkKeys(where, drive, DRIVE_KEYS);
  const { file = "", source } = drive;
  if (source === undefined && file === "") throw new OptionError(`${where}.file: missing`);
  if (source !== undefined || isNbdName(file)) refuseImageOptions(drive, where);
  if (source !== undefined) checkSource(source, `${where}.source`);
  const serial = drive.serial ?? `vmexit-${index}`;
  if (serial.length > MAX_SERIAL_NAME || !/^[\x20-\x7e]*$/.test(serial)) {
    throw new OptionError(`${where}.serial: ${JSON.stringify(serial)} is not at most 20 characters of ASCII`);
  }
  const { direct, durable, writeCache } =
    CACHE[oneOf(`${where}.cache`, drive.cache ?? "writeback", CACHE_MODES)];
  const rerror = oneOf(`${where}.rerror`, drive.rerror ?? "report", ERROR_POLICIES);
  if (rerror === "enospc") {
    throw new OptionError(
      `${where}.rerror: reading never finds a file system full; give report, ignore or stop`,
    );
  }
  return {
    file,
    source,
    format: drive.format === undefined ? undefined : oneOf(`${where}.format`, drive.format, DRIVE_FORMATS),
    otherFiles: oneOf(`${where}.otherFiles`, drive.otherFiles ?? "folder", ["folder", "anywhere"]),
    cacheBytes:
      drive.cacheBytes === undefined
        ? undefined
        : integer(`${where}.cacheBytes`, drive.cacheBytes, 1, MAX_CACHE_BYTES),
    readOnly: drive.readOnly ?? (source !== undefined && sourceFacts(source).readOnly),
    serial,
    queues: integer(`${where}.queues`, drive.queues ?? Math.min(cpus, MAX_QUEUES), 1, MAX_QUEUES),
    writeCache: drive.writeCache ?? writeCache,
    direct,
    durable,
    engine: oneOf(`${where}.aio`, drive.aio ?? "io_uring", ASYNC_ENGINES),
    discards: oneOf(`${where}.discard`, drive.discard ?? "unmap", ["unmap", "ignore"]) === "unmap",
    detectZeroes: oneOf(`${where}.detectZeroes`, drive.detectZeroes ?? "off", DETECT_ZEROES),
    rerror,
    werror: oneOf(`${where}.werror`, drive.werror ?? "report", ERROR_POLICIES),
    throttling:
      drive.throttling === undefined ? undefined : checkLimits(drive.throttling, `${where}.throttling`),
    snapshot: drive.snapshot ?? false,
  };
}

/** What only an image file has a meaning for. */
function refuseImageOptions(drive: DriveOptions, where: string): void {
  if (drive.source !== undefined && drive.file !== undefined) {
    throw new OptionError(`${where}: give either file or source`);
  }
  const format = drive.format !== undefined && drive.format !== "raw";
  const wrong = format
    ? "format"
    : IMAGE_ONLY.find((key) => drive[key] !== undefined && drive[key] !== false);
  if (wrong === undefined) return;
  const what = drive.source === undefined ? "a disk behind an NBD server" : "a disk of the program's own";
  throw new OptionError(`${where}.${wrong}: ${what} is no image file; leave this out`);
}

function checkSource(source: DiskSource, where: string): void {
  if (typeof source.read !== "function")
    throw new OptionError(`${where}.read: missing; give { size, read, … }`);
  try {
    sourceFacts(source);
  } catch (error) {
    if (error instanceof RangeError) throw new OptionError(`${where}: ${error.message}`);
    throw error;
  }
}

function checkLimits(limits: ThrottleLimits, where: string): ThrottleLimits {
  checkKeys(where, limits, LIMIT_KEYS);
  for (const name of THROTTLE_LIMITS)
    integer(`${where}.${name}`, limits[name] ?? 0, 0, Number.MAX_SAFE_INTEGER);
  for (const kind of ["iops", "bps"] as const) {
    if (
      (limits[`${kind}Total`] ?? 0) > 0 &&
      ((limits[`${kind}Read`] ?? 0) > 0 || (limits[`${kind}Write`] ?? 0) > 0)
    ) {
      throw new OptionError(`${where}: give either ${kind}Total, or ${kind}Read and ${kind}Write`);
    }
  }
  return limits;
}
