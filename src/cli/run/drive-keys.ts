/**
 * The keys of `-drive`: what each does to the drive that is being described.
 * Those that `-blockdev` and `-device` have too come from here.
 *
 * Source: QEMU 7.2, qemu-options.hx (-drive, -blockdev); the names under
 * `throttling.` and their older spellings are those of its docs/throttle.txt.
 */
import { didYouMean } from "../../base/errors.ts";
import { parseSize } from "../../base/units.ts";
import { DETECT_ZEROES } from "../../disk/guest-disk.ts";
import type { THROTTLE_LIMITS } from "../../disk/throttle.ts";
import { DRIVE_FORMATS } from "../../images/drive.ts";
import { READ_ONLY_FORMATS, WRITABLE_FORMATS } from "../../images/formats.ts";
import { ASYNC_ENGINES } from "../../sys/async-io.ts";
import { ERROR_POLICIES } from "../../virtio/blk/blk-requests.ts";
import { CACHE_MODES } from "../../vm/options.ts";
import type { Complain, KeyRow } from "../key-values.ts";
import { onOff } from "../key-values.ts";
import type { DriveDraft } from "./request.ts";

/** What -drive's if= may name elsewhere, and why it has no meaning here. */
const OTHER_INTERFACES = ["ide", "scsi", "sd", "mtd", "floppy", "pflash", "xen"];

/** The names of a limit: QEMU's, its older one, and ours. */
const LIMITS: readonly (readonly [string, string, (typeof THROTTLE_LIMITS)[number], string])[] = [
  ["throttling.iops-total", "iops", "iopsTotal", "requests a second"],
  ["throttling.iops-read", "iops_rd", "iopsRead", "the same, of reads"],
  ["throttling.iops-write", "iops_wr", "iopsWrite", "the same, of writes"],
  ["throttling.bps-total", "bps", "bpsTotal", "bytes a second"],
  ["throttling.bps-read", "bps_rd", "bpsRead", "the same, of reads"],
  ["throttling.bps-write", "bps_wr", "bpsWrite", "the same, of writes"],
];

/** What is lost with an image that fails for want of room can wait until there is some: as QEMU does it. */
export const DRIVE_DEFAULTS: DriveDraft["options"] = { werror: "enospc" };

export const RERROR_KEY = wordKey(
  "rerror",
  ["report", "ignore", "stop"],
  "what becomes of reads that fail (default: report)",
  "rerror",
);
export const WERROR_KEY = wordKey(
  "werror",
  ERROR_POLICIES,
  "what becomes of writes that fail (default: enospc)",
  "werror",
);

export const DRIVE_KEYS: readonly KeyRow<DriveDraft>[] = [
  {
    name: "file",
    values: "PATH",
    help: "a file, a block device, or an NBD export (nbd://HOST/EXPORT); required",
    set: (drive, value) => {
      drive.file = value;
    },
  },
  {
    name: "format",
    values: `${WRITABLE_FORMATS.join("|")}|…`,
    help: `how the disk is stored in the file; ${READ_ONLY_FORMATS.join(", ")} need readonly=on`,
    set: (drive, value, complain) => {
      drive.options.format = word("format", value, DRIVE_FORMATS, complain);
    },
  },
  {
    name: "other-files",
    values: "folder|anywhere",
    help: "which files a qcow2 image may name: those in its own folder (default), or any",
    set: (drive, value, complain) => {
      if (value !== "folder" && value !== "anywhere") {
        throw complain(`other-files="${value}": write folder or anywhere`);
      }
      drive.options.otherFiles = value;
    },
  },
  {
    name: "l2-cache-size",
    values: "SIZE",
    help: "bytes, or with K, M or G: what a qcow2 image's L2 tables may take in memory (default 32M)",
    set: (drive, value, complain) => {
      drive.options.cacheBytes = cacheSize("l2-cache-size", value, complain);
    },
  },
  {
    name: "cache-size",
    values: "SIZE",
    help: "the same together with its refcounts, which get a fifth of it (default 40M)",
    set: (drive, value, complain) => {
      drive.options.cacheBytes = Math.ceil((cacheSize("cache-size", value, complain) * 4) / 5);
    },
  },
  {
    name: "if",
    values: "virtio|none",
    help: "virtio attaches it to the machine (default); none leaves that to a -device",
    set: (drive, value, complain) => {
      if (value !== "virtio" && value !== "none") {
        const meant = OTHER_INTERFACES.includes(value) ? "" : didYouMean(value, ["virtio", "none"]);
        throw complain(`if="${value}": this machine has virtio disks only; use if=virtio${meant}`);
      }
      drive.attach = value === "virtio";
    },
  },
  {
    name: "readonly",
    aliases: ["read-only"],
    values: "on|off",
    help: "refuse the guest's writes",
    set: (drive, value, complain) => {
      drive.options.readOnly = onOff("readonly", value, complain);
    },
  },
  {
    name: "snapshot",
    values: "on|off",
    help: "the guest's writes go to a temporary file, and the image stays as it is",
    set: (drive, value, complain) => {
      drive.options.snapshot = onOff("snapshot", value, complain);
    },
  },
  wordKey(
    "cache",
    CACHE_MODES,
    "the host's page cache, and what a write promises (default: writeback)",
    "cache",
  ),
  {
    name: "aio",
    values: "io_uring|threads",
    help: "what carries requests out (default: io_uring; threads where that is not permitted)",
    set: (drive, value, complain) => {
      // Linux' older interface: io_uring does what it does, and more.
      const meant = value === "native" ? "io_uring" : value;
      drive.options.aio = word("aio", meant, ASYNC_ENGINES, complain);
    },
  },
  {
    name: "discard",
    values: "unmap|ignore",
    help: "whether storage that the guest discards is given back (default: unmap)",
    set: (drive, value, complain) => {
      const meant = value === "on" ? "unmap" : value === "off" ? "ignore" : value;
      drive.options.discard = word("discard", meant, ["unmap", "ignore"], complain);
    },
  },
  wordKey("detect-zeroes", DETECT_ZEROES, "makes holes of writes of zeros (default: off)", "detectZeroes"),
  RERROR_KEY,
  WERROR_KEY,
  ...LIMITS.map(
    ([name, alias, limit, help]): KeyRow<DriveDraft> => ({
      name,
      aliases: [alias],
      values: "NUMBER",
      help,
      set: (drive, value, complain) => {
        drive.options.throttling = { ...drive.options.throttling, [limit]: rate(name, value, complain) };
      },
    }),
  ),
  {
    name: "serial",
    values: "TEXT",
    help: "the disk's serial number, at most 20 characters",
    set: (drive, value, complain) => {
      drive.options.serial = serialNumber(value, complain);
    },
  },
  {
    name: "media",
    values: "disk",
    help: "what it is; there is no CD drive",
    set: (_drive, value, complain) => {
      if (value !== "disk") {
        throw complain(
          `media="${value}": this machine has no CD drive; a CD image can be read as a disk with readonly=on`,
        );
      }
    },
  },
  {
    name: "id",
    values: "ID",
    help: "a name for -device virtio-blk-device,drive=ID",
    set: (drive, value) => {
      drive.id = value;
    },
  },
];

export function serialNumber(value: string, complain: Complain): string {
  if (!/^[\x20-\x7e]{1,20}$/.test(value))
    throw complain(`serial="${value}" is not at most 20 characters of ASCII`);
  return value;
}

/** A key whose value is one of some words, which mean the same to the library. */
function wordKey<K extends keyof DriveDraft["options"]>(
  name: string,
  words: readonly (DriveDraft["options"][K] & string)[],
  help: string,
  option: K,
): KeyRow<Pick<DriveDraft, "options">> {
  return {
    name,
    values: words.join("|"),
    help,
    set: (drive, value, complain) => {
      drive.options[option] = word(name, value, words, complain);
    },
  };
}

export function word<T extends string>(
  key: string,
  value: string,
  words: readonly T[],
  complain: Complain,
): T {
  const found = words.find((each) => each === value);
  if (found !== undefined) return found;
  throw complain(
    `${key}="${value}" is not known${didYouMean(value, words)}; it is ${words.join(", ").replace(/, ([^,]*)$/, " or $1")}`,
  );
}

function cacheSize(key: string, value: string, complain: Complain): number {
  const bytes = /^\d{1,10}[kmg]?$/i.test(value) ? parseSize(value, key) : 0;
  if (bytes >= 1 && bytes <= 2 ** 31) return bytes;
  throw complain(`${key}="${value}": write a size up to 2G, such as 16M`);
}

function rate(key: string, value: string, complain: Complain): number {
  const number = /^[0-9]{1,15}[KMGT]?$/i.test(value) ? parseSize(value, key) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw complain(`${key}="${value}" is not a number`);
  return number;
}
