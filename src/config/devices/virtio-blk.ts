/**
 * A disk: the options of a drive, of its image, and of the device that the guest
 * sees.
 *
 * Source: QEMU 7.2, qemu-options.hx (-drive, -blockdev, -device); the names under
 * `throttling.` and their older spellings are those of its docs/throttle.txt.
 */
import { OptionError } from "../../base/errors.ts";
import { type DiskSource, sourceFacts } from "../../disk/disk-source.ts";
import { CACHE_MODES, CACHING } from "../../images/cache-mode.ts";
import { IMAGE_FORMATS } from "../../images/formats.ts";
import { isNbdName } from "../../nbd/address.ts";
import { device, ID } from "../device-table.ts";
import { type Filled, fill, group, type Options, table } from "../schema.ts";
import { amount, ascii, flag, integer, type Kind, object, only, size, text, words } from "../value.ts";
import { BOOT_INDEX, CHS_TRANSLATION, IDE_DEVICE_KEYS, INDEX, INTERFACE, MEDIA, MODEL } from "./ide-drive.ts";
import { DISABLE_LEGACY, DISABLE_MODERN, PCI_ADDRESS, PCI_DEVICE_KEYS } from "./pci.ts";
import { MAX_QUEUE_SIZE, queueSize } from "./queue-size.ts";
import { CONTROLLER, LUN, SCSI_DEVICE_KEYS, TARGET } from "./scsi-drive.ts";

const MAX_SERIAL = 20; // VIRTIO 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID answers 20 bytes
const MAX_QUEUES = 64;
const MAX_CACHE = 2 ** 31;

const tables = size(1, MAX_CACHE, "up to 2G");
/** QEMU's cache-size counts refcounts too, and gives them a fifth. */
const tablesAndRefcounts: Kind<number | string, number> = {
  ...tables,
  parse: (typed, refuse) => Math.ceil((tables.check(typed, refuse) * 4) / 5),
};
const rate = amount(Number.MAX_SAFE_INTEGER, "NUMBER");

const THROTTLING = table({
  /** Requests per second. Default: `0`. */
  iopsTotal: {
    type: rate,
    default: 0,
    qemu: { drive: ["throttling.iops-total", "iops"] },
    help: "requests per second",
  },
  /** Reads per second. Default: `0`. */
  iopsRead: {
    type: rate,
    default: 0,
    qemu: { drive: ["throttling.iops-read", "iops_rd"] },
    help: "reads per second",
  },
  /** Writes per second. Default: `0`. */
  iopsWrite: {
    type: rate,
    default: 0,
    qemu: { drive: ["throttling.iops-write", "iops_wr"] },
    help: "writes per second",
  },
  /** Bytes per second. Default: `0`. */
  bpsTotal: {
    type: rate,
    default: 0,
    qemu: { drive: ["throttling.bps-total", "bps"] },
    help: "bytes per second",
  },
  /** Bytes read per second. Default: `0`. */
  bpsRead: {
    type: rate,
    default: 0,
    qemu: { drive: ["throttling.bps-read", "bps_rd"] },
    help: "bytes read per second",
  },
  /** Bytes written per second. Default: `0`. */
  bpsWrite: {
    type: rate,
    default: 0,
    qemu: { drive: ["throttling.bps-write", "bps_wr"] },
    help: "bytes written per second",
  },
});

const OPTIONS = table({
  /** A file, a block device, or an NBD export (nbd://HOST/EXPORT). */
  file: {
    type: text("PATH"),
    qemu: { drive: ["file"] },
    help: "a file, a block device, or an NBD export (nbd://HOST/EXPORT)",
    see: "nbd.md",
  },
  /** A disk that the program provides, instead of a file; without write it is read-only. */
  source: {
    type: object<DiskSource>(),
    help: "a disk that the program provides, instead of a file; without write it is read-only",
    see: "library.md#disks-of-your-own",
  },
  /**
   * How the disk is stored in the file; vmdk, vpc, vhdx and vdi can only be read; auto: what the file looks
   * like. Default: raw, and a file that looks like another format is refused.
   */
  format: {
    type: words([...IMAGE_FORMATS, "auto"]),
    qemu: { drive: ["format"] },
    help: "how the disk is stored in the file; vmdk, vpc, vhdx and vdi can only be read; auto: what the file looks like",
    otherwise: "raw, and a file that looks like another format is refused",
  },
  /** Which files a qcow2 image may name: those in its own folder and below, or any. Default: `"folder"`. */
  otherFiles: {
    type: words(["folder", "anywhere"]),
    default: "folder",
    qemu: { drive: ["other-files"], format: ["other-files"] },
    help: "which files a qcow2 image may name: those in its own folder and below, or any",
    see: "disks.md#other-files",
  },
  /**
   * Memory for the L2 tables of each qcow2 image in a chain; its refcounts may take a quarter more. Default:
   * 32M.
   */
  cacheBytes: {
    type: tables,
    otherwise: "32M",
    qemu: { drive: ["l2-cache-size"], format: ["l2-cache-size"] },
    help: "memory for the L2 tables of each qcow2 image in a chain; its refcounts may take a quarter more",
    see: "disks.md#memory",
    also: [
      {
        type: tablesAndRefcounts,
        otherwise: "40M",
        qemu: { drive: ["cache-size"], format: ["cache-size"] },
        help: "the same for L2 tables and refcounts together",
      },
    ],
  },
  /** Refuses the guest's writes. Default: `false`. */
  readOnly: {
    type: flag,
    default: false,
    qemu: { drive: ["readonly", "read-only"], node: ["read-only"] },
    help: "refuses the guest's writes",
  },
  /** The guest's writes go to a temporary file, and the image does not change. Default: `false`. */
  snapshot: {
    type: flag,
    default: false,
    qemu: { drive: ["snapshot"] },
    help: "the guest's writes go to a temporary file, and the image does not change",
    see: "disks.md#writes-that-vanish",
  },
  /** How the host's page cache is used, and when a write is on stable storage. Default: `"writeback"`. */
  cache: {
    type: words(CACHE_MODES),
    default: "writeback",
    qemu: { drive: ["cache"] },
    help: "how the host's page cache is used, and when a write is on stable storage",
    see: "disks.md#cache-modes",
  },
  /** What executes requests; where io_uring is not permitted, threads do. Default: `"io_uring"`. */
  aio: {
    // native is Linux's older interface: io_uring does the same, and more.
    type: words(["io_uring", "threads"], { native: "io_uring" }),
    default: "io_uring",
    qemu: { drive: ["aio"], file: ["aio"] },
    help: "what executes requests; where io_uring is not permitted, threads do",
  },
  /** Whether storage that the guest discards is returned to the host. Default: `"unmap"`. */
  discard: {
    type: words(["unmap", "ignore"], { on: "unmap", off: "ignore" }),
    default: "unmap",
    qemu: { drive: ["discard"], node: ["discard"] },
    help: "whether storage that the guest discards is returned to the host",
  },
  /**
   * Whether a write of only zeros makes the image zero there (on) and also frees storage (unmap). Default:
   * `"off"`.
   */
  detectZeroes: {
    type: words(["off", "on", "unmap"]),
    default: "off",
    qemu: { drive: ["detect-zeroes"], node: ["detect-zeroes"] },
    help: "whether a write of only zeros makes the image zero there (on) and also frees storage (unmap)",
  },
  /**
   * When a read fails on the host: report it to the guest, ignore it, or stop the machine. Default:
   * `"report"`.
   */
  rerror: {
    type: words(["report", "ignore", "stop"]),
    default: "report",
    qemu: { drive: ["rerror"], device: ["rerror"], auto: true },
    help: "when a read fails on the host: report it to the guest, ignore it, or stop the machine",
    see: "disks.md#when-the-host-fails",
  },
  /**
   * The same for writes, flushes and discards; enospc: stop if there is no space, else report. Default:
   * `"report"`.
   */
  werror: {
    type: words(["report", "ignore", "stop", "enospc"]),
    default: "report",
    qemu: { drive: ["werror"], device: ["werror"], auto: true, default: "enospc" },
    help: "the same for writes, flushes and discards; enospc: stop if there is no space, else report",
    see: "disks.md#when-the-host-fails",
  },
  /** Limits of requests and bytes per second. */
  throttling: {
    type: group(THROTTLING),
    help: "limits of requests and bytes per second",
    see: "disks.md#limits",
  },
  /** The disk's serial number, at most 20 characters of ASCII. Default: vmexit-N. */
  serial: {
    type: ascii(MAX_SERIAL),
    otherwise: "vmexit-N",
    qemu: { drive: ["serial"], device: ["serial"] },
    help: "the disk's serial number, at most 20 characters of ASCII",
  },
  /** Request queues. Default: one per CPU. */
  queues: {
    type: integer(1, MAX_QUEUES),
    otherwise: "one per CPU",
    qemu: { device: ["num-queues"] },
    help: "request queues",
  },
  /**
   * Whether a write may be in a cache when it completes, and else is on stable storage. Default: as cache
   * says.
   */
  writeCache: {
    type: flag,
    otherwise: "as cache says",
    qemu: { device: ["write-cache"], auto: true },
    help: "whether a write may be in a cache when it completes, and else is on stable storage",
  },
  /** The guest may switch its write cache on and off. Default: `true`. */
  configWce: {
    type: flag,
    default: true,
    qemu: { device: ["config-wce"] },
    help: "the guest may switch its write cache on and off",
  },
  /** Descriptors of each request queue: a power of two. Default: `256`. */
  queueSize: {
    type: queueSize,
    default: MAX_QUEUE_SIZE,
    qemu: { device: ["queue-size"] },
    help: "descriptors of each request queue: a power of two",
  },
  /** How the guest reaches it; only a pc has ide. Default: `"virtio"`. */
  interface: INTERFACE,
  /** Of ide and scsi: cdrom is a CD drive; without a file it is empty. Default: `"disk"`. */
  media: MEDIA,
  /**
   * Of ide: the place; 0 and 1 are on the first channel, 2 and 3 on the second. Default: the next free one.
   */
  index: INDEX,
  /** Of ide: the drive's name, at most 40 characters of ASCII. Default: VMEXIT HARDDISK or VMEXIT DVD-ROM. */
  model: MODEL,
  /** Of ide: how firmware translates cylinders, heads and sectors. Default: `"auto"`. */
  chsTranslation: CHS_TRANSLATION,
  /** Of scsi: the controller, as a place in `scsi`. Default: 0. */
  controller: CONTROLLER,
  /** Of scsi: the target on the controller. Default: the next free one. */
  target: TARGET,
  /** Of scsi: the unit of the target. Default: 0. */
  lun: LUN,
  /** Of a pc: the lowest is what firmware starts first. Default: none. */
  bootindex: BOOT_INDEX,
  /** A name that no other device of the machine has. */
  id: ID,
  /** Of a pc: its slot on the PCI bus, in hexadecimal. Default: the next free one. */
  addr: PCI_ADDRESS,
  /** Of a pc: the device has only the legacy interface, which Linux before 4.0 needs. Default: `false`. */
  disableModern: DISABLE_MODERN,
  /** Of a pc: the device has only the interface of VIRTIO 1.0 and later. Default: `false`. */
  disableLegacy: DISABLE_LEGACY,
});

export type DriveOptions = Options<typeof OPTIONS>;
type Drive = Filled<typeof OPTIONS>;

/**
 * A drive with every default but the format's. Without a name for its format the
 * file must not look like another one.
 */
export interface DriveConfig extends Drive {
  readonly serial: string;
  readonly queues: number;
  readonly writeCache: boolean;
}

/** What -device says of a disk besides its options: which drive it is. */
export const DISK_DEVICE_KEYS = table({
  drive: {
    type: text("ID"),
    required: "the drive is missing: drive=ID",
    qemu: { device: ["drive"] },
    help: "the id of the -drive, or the node-name of the -blockdev",
  },
  ...PCI_DEVICE_KEYS,
  scsi: {
    type: only("off", "SCSI requests are not passed on"),
    qemu: { device: ["scsi"] },
    help: "accepted: off",
  },
});

export const VIRTIO_BLK = device({
  kind: "virtio-blk",
  names: ["virtio-blk-device", "virtio-blk", "virtio-blk-pci"],
  help: "attaches a -drive with if=none, or a -blockdev",
  options: OPTIONS,
  deviceKeys: DISK_DEVICE_KEYS,
  finish: (drive, where, { cpus, index }): DriveConfig => {
    const { file = "", source, throttling } = drive;
    const isCd = drive.media === "cdrom";
    if (isCd && drive.interface === "virtio") {
      throw new OptionError(
        `${where}.media: a virtio disk is not a CD drive; give it interface "scsi", or "ide" on a pc, or make it read-only`,
      );
    }
    if (source === undefined && file === "" && !isCd) throw new OptionError(`${where}.file: missing`);
    if (source !== undefined || isNbdName(file)) refuseImageOptions(drive, where);
    if (source !== undefined) checkSource(source, `${where}.source`);
    if (throttling !== undefined) checkLimits(throttling, `${where}.throttling`);
    return {
      ...drive,
      readOnly: isCd || drive.readOnly || (source !== undefined && sourceFacts(source).readOnly),
      serial: drive.serial ?? `vmexit-${index}`,
      queues: drive.queues ?? Math.min(cpus, MAX_QUEUES),
      ...(drive.interface !== "virtio"
        ? { model: drive.model ?? (isCd ? "VMEXIT DVD-ROM" : "VMEXIT HARDDISK") }
        : {}),
      writeCache: drive.writeCache ?? CACHING[drive.cache].writeCache,
    };
  },
});

/** What -device says of a disk on IDE. */
const IDE_OPTIONS = table({
  rerror: OPTIONS.rerror,
  werror: OPTIONS.werror,
  serial: OPTIONS.serial,
  writeCache: OPTIONS.writeCache,
  model: OPTIONS.model,
  chsTranslation: OPTIONS.chsTranslation,
  bootindex: OPTIONS.bootindex,
  id: OPTIONS.id,
});

/** The disk of a -device on IDE. */
export const IDE_HD = device({
  kind: "ide-hd",
  names: ["ide-hd"],
  help: "of a pc: the same on its IDE controller",
  options: IDE_OPTIONS,
  deviceKeys: IDE_DEVICE_KEYS,
});

export const IDE_CD = device({
  kind: "ide-cd",
  names: ["ide-cd"],
  help: "of a pc: a CD drive on its IDE controller, empty without drive=",
  options: IDE_OPTIONS,
  deviceKeys: IDE_DEVICE_KEYS,
});

/** What -device says of a disk on SCSI. */
const SCSI_OPTIONS = table({
  rerror: OPTIONS.rerror,
  werror: OPTIONS.werror,
  serial: OPTIONS.serial,
  writeCache: OPTIONS.writeCache,
  bootindex: OPTIONS.bootindex,
  id: OPTIONS.id,
});

export const SCSI_HD = device({
  kind: "scsi-hd",
  names: ["scsi-hd"],
  help: "the same on a SCSI controller",
  options: SCSI_OPTIONS,
  deviceKeys: SCSI_DEVICE_KEYS,
});

export const SCSI_CD = device({
  kind: "scsi-cd",
  names: ["scsi-cd"],
  help: "a CD drive on a SCSI controller, empty without drive=",
  options: SCSI_OPTIONS,
  deviceKeys: SCSI_DEVICE_KEYS,
});

/** Options that only an image file has. */
const IMAGE_ONLY = ["otherFiles", "cacheBytes", "snapshot", "aio", "detectZeroes"] as const;

function refuseImageOptions(drive: Drive, where: string): void {
  const { file, source, format = "raw" } = drive;
  if (source !== undefined && file !== undefined) {
    throw new OptionError(`${where}: give either file or source`);
  }
  const defaults = fill(OPTIONS, {}, where);
  const isRaw = format === "raw" || format === "auto";
  const wrong = isRaw ? IMAGE_ONLY.find((key) => drive[key] !== defaults[key]) : "format";
  if (wrong === undefined) return;
  const what = source === undefined ? "a disk behind an NBD server" : "a disk of the program's own";
  throw new OptionError(`${where}.${wrong}: ${what} is not an image file; leave this out`);
}

function checkSource(source: DiskSource, where: string): void {
  if (typeof source.read !== "function") {
    throw new OptionError(`${where}.read: missing; give { size, read, … }`);
  }
  try {
    sourceFacts(source);
  } catch (error) {
    throw error instanceof RangeError ? new OptionError(`${where}: ${error.message}`) : error;
  }
}

function checkLimits(limits: Filled<typeof THROTTLING>, where: string): void {
  for (const kind of ["iops", "bps"] as const) {
    if (limits[`${kind}Total`] > 0 && (limits[`${kind}Read`] > 0 || limits[`${kind}Write`] > 0)) {
      throw new OptionError(`${where}: give either ${kind}Total, or ${kind}Read and ${kind}Write`);
    }
  }
}
