/**
 * Options of a drive that is on a SCSI controller, and `-device scsi-hd` and `scsi-cd`.
 *
 * Source: QEMU 11.1, the properties that `-device scsi-hd,help` and `scsi-cd,help` list.
 */
import { OptionError } from "../../base/errors.ts";
import { type Row, table } from "../schema.ts";
import { integer, only, text } from "../value.ts";
import type { ScsiControllerConfig } from "./virtio-scsi.ts";

const MAX_CONTROLLER = 31;
const MAX_TARGET = 255;
const MAX_LUN = 16383;

export const CONTROLLER = {
  type: integer(0, MAX_CONTROLLER),
  otherwise: "0",
  help: "of scsi: the controller, as a place in `scsi`",
} as const satisfies Row;

export const TARGET = {
  type: integer(0, MAX_TARGET),
  otherwise: "the next free one",
  help: "of scsi: the target on the controller",
} as const satisfies Row;

export const LUN = {
  type: integer(0, MAX_LUN),
  otherwise: "0",
  help: "of scsi: the unit of the target",
} as const satisfies Row;

/** Which drive `-device scsi-hd` and `scsi-cd` attach, and where. */
export const SCSI_DEVICE_KEYS = table({
  drive: {
    type: text("ID"),
    qemu: { device: ["drive"] },
    help: "the id of the -drive, or the node-name of the -blockdev",
  },
  bus: { type: text("ID.0"), qemu: { device: ["bus"] }, help: "the controller: its id and .0" },
  channel: {
    type: only("0", "a controller has one channel"),
    qemu: { device: ["channel"] },
    help: "accepted: 0",
  },
  target: {
    type: TARGET.type,
    otherwise: TARGET.otherwise,
    qemu: { device: ["scsi-id"] },
    help: "the target",
  },
  lun: { type: LUN.type, qemu: { device: ["lun"] }, help: "the unit of the target" },
  deviceId: {
    type: text("NAME"),
    qemu: { device: ["device_id"] },
    help: "accepted: the drive is named by its serial number",
  },
});

interface OnScsi {
  readonly interface: "virtio" | "ide" | "scsi";
  readonly media: "disk" | "cdrom";
  readonly controller: number | undefined;
  readonly target: number | undefined;
  readonly lun: number | undefined;
  readonly queues: number;
}

/**
 * Gives each drive on a SCSI controller its place: the one that it asks for, or the next free target.
 * @throws {OptionError} if there is none
 */
export function placeScsiDrives<D extends OnScsi>(
  drives: readonly D[],
  controllers: readonly ScsiControllerConfig[],
): readonly D[] {
  const taken = new Map<string, number>();
  drives.forEach((drive, n) => {
    if (drive.interface !== "scsi") return;
    const { controller = 0 } = drive;
    if (controllers[controller] === undefined) {
      throw new OptionError(`drives[${n}].controller: there is no scsi[${controller}]`);
    }
    if (drive.target === undefined) return;
    const other = taken.get(placeOf(drive));
    if (other !== undefined) {
      throw new OptionError(
        `drives[${n}].target: drives[${other}] is unit ${drive.lun ?? 0} of target ${drive.target} already`,
      );
    }
    taken.set(placeOf(drive), n);
  });
  return drives.map((drive, n) => {
    if (drive.interface !== "scsi") return drive;
    const { controller = 0, lun = 0 } = drive;
    const { queues } = controllers[controller];
    let { target = 0 } = drive;
    while (drive.target === undefined && taken.has(placeOf({ ...drive, target }))) target++;
    if (target > MAX_TARGET)
      throw new OptionError(`drives[${n}].interface: the controller has no target left`);
    taken.set(placeOf({ ...drive, target }), n);
    // A snapshot names them all.
    return { ...drive, controller, target, lun, queues };
  });
}

function placeOf({
  controller = 0,
  target = 0,
  lun = 0,
}: Pick<OnScsi, "controller" | "target" | "lun">): string {
  return `${controller} ${target} ${lun}`;
}

/** scsi0-hd2 is unit 0 of target 2 on the first controller, scsi0-hd2-1 its unit 1. */
export function scsiName({ controller = 0, media, target = 0, lun = 0 }: OnScsi): string {
  return `scsi${controller}-${media === "cdrom" ? "cd" : "hd"}${target}${lun === 0 ? "" : `-${lun}`}`;
}

/** The place that a name says; undefined for another name. */
export function scsiPlaceOf(
  name: string,
): Pick<OnScsi, "interface" | "controller" | "target" | "lun"> | undefined {
  const found = /^scsi(\d+)-(?:hd|cd)(\d+)(?:-(\d+))?$/.exec(name);
  if (found === null) return undefined;
  const [, controller, target, lun = "0"] = found;
  return { interface: "scsi", controller: Number(controller), target: Number(target), lun: Number(lun) };
}
