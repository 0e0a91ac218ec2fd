/**
 * Options of a drive that is on a PC's IDE controller, and `-device ide-hd` and `ide-cd`.
 *
 * Source: QEMU 11.1, qemu-options.hx (-drive: if, media, index, bus, unit; -hda, -cdrom) and the
 * properties that `-device ide-hd,help` lists.
 */
import { OptionError } from "../../base/errors.ts";
import { type Row, table } from "../schema.ts";
import { ascii, integer, text, typed, words } from "../value.ts";

const MAX_MODEL = 40; // ATA/ATAPI-7, 6.17: words 27 to 46
const PLACES = 4;

export const INTERFACE = {
  type: words(["virtio", "ide", "scsi"]),
  default: "virtio",
  help: "how the guest reaches it; only a pc has ide",
} as const satisfies Row;

export const MEDIA = {
  type: words(["disk", "cdrom"]),
  default: "disk",
  qemu: { drive: ["media"] },
  help: "of ide and scsi: cdrom is a CD drive; without a file it is empty",
} as const satisfies Row;

export const INDEX = {
  type: integer(0, PLACES - 1),
  otherwise: "the next free one",
  qemu: { drive: ["index"] },
  help: "of ide: the place; 0 and 1 are on the first channel, 2 and 3 on the second",
} as const satisfies Row;

export const MODEL = {
  type: ascii(MAX_MODEL),
  otherwise: "VMEXIT HARDDISK or VMEXIT DVD-ROM",
  qemu: { device: ["model"] },
  help: "of ide: the drive's name, at most 40 characters of ASCII",
} as const satisfies Row;

export const CHS_TRANSLATION = {
  type: words(["auto", "none", "lba", "large", "rechs"]),
  default: "auto",
  qemu: { device: ["bios-chs-trans"] },
  help: "of ide: how firmware translates cylinders, heads and sectors",
} as const satisfies Row;

export const BOOT_INDEX = {
  type: integer(-1, 2 ** 31 - 1),
  otherwise: "none",
  qemu: { device: ["bootindex"] },
  help: "of a pc: the lowest is what firmware starts first",
} as const satisfies Row;

const bus = typed("ide.0|ide.1", (word, refuse) => {
  if (word === "ide.0") return 0;
  if (word === "ide.1") return 1;
  throw refuse(`"${word}" is not a channel; write ide.0 or ide.1`);
});

/** Which drive `-device ide-hd` and `ide-cd` attach, and where. */
export const IDE_DEVICE_KEYS = table({
  drive: {
    type: text("ID"),
    qemu: { device: ["drive"] },
    help: "the id of the -drive, or the node-name of the -blockdev",
  },
  bus: { type: bus, qemu: { device: ["bus"] }, help: "the channel" },
  unit: { type: integer(0, 1), qemu: { device: ["unit"] }, help: "the drive on the channel" },
});

/** Where `-drive if=ide` does, and if=scsi. */
export const IDE_DRIVE_KEYS = table({
  bus: {
    type: integer(0, 31),
    qemu: { drive: ["bus"] },
    help: "with unit, in place of index: the channel; of scsi the controller",
  },
  unit: { type: integer(0, 255), qemu: { drive: ["unit"] }, help: "the drive on it; of scsi the target" },
});

interface OnIde {
  readonly interface: "virtio" | "ide" | "scsi";
  readonly media: "disk" | "cdrom";
  readonly index: number | undefined;
}

/**
 * Gives each drive on IDE its place: the one that it asks for, or the next free one.
 * @throws {OptionError} if there is none
 */
export function placeIdeDrives<D extends OnIde>(drives: readonly D[], hasIde: boolean): readonly D[] {
  const taken = new Map<number, number>();
  drives.forEach((drive, n) => {
    if (drive.interface !== "ide") return;
    if (!hasIde) {
      throw new OptionError(
        `drives[${n}].interface: a microvm has virtio disks only; leave this out, or make the machine a pc`,
      );
    }
    const { index } = drive;
    if (index === undefined) return;
    const other = taken.get(index);
    if (other !== undefined) {
      throw new OptionError(`drives[${n}].index: drives[${other}] is at place ${index} of the IDE channels`);
    }
    taken.set(index, n);
  });
  return drives.map((drive, n) => {
    if (drive.interface !== "ide" || drive.index !== undefined) return drive;
    const index = [0, 1, 2, 3].find((place) => !taken.has(place));
    if (index === undefined) {
      throw new OptionError(`drives[${n}].interface: the two IDE channels have four drives already`);
    }
    taken.set(index, n);
    return { ...drive, index };
  });
}

/** As QEMU names it: ide1-cd0 is the first drive of the second channel. */
export function ideName({ media, index = 0 }: OnIde): string {
  return `ide${index >> 1}-${media === "cdrom" ? "cd" : "hd"}${index & 1}`;
}
