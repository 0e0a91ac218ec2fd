/**
 * `-drive` and `-device`. The keys of a device are in its table: src/config/devices.ts.
 *
 * A disk is attached in two ways, as in QEMU: `-drive if=virtio,…` alone, or
 * `-drive if=none,id=ID,…` with `-device virtio-blk-device,drive=ID`. A
 * `-blockdev` may replace the -drive of the second way: see blockdev-options.ts.
 *
 * Source: QEMU 7.2, qemu-options.hx (-drive, -device) and docs/system/i386/microvm.rst.
 */
import { didYouMean } from "../../base/errors.ts";
import type { DeviceTable } from "../../config/device-table.ts";
import { IDE_DEVICE_KEYS, IDE_DRIVE_KEYS } from "../../config/devices/ide-drive.ts";
import { ISA_DEBUGCON, ISA_SERIAL } from "../../config/devices/isa-ports.ts";
import { SCSI_DEVICE_KEYS } from "../../config/devices/scsi-drive.ts";
import { UHCI } from "../../config/devices/uhci.ts";
import {
  DISK_DEVICE_KEYS,
  type DriveOptions,
  IDE_CD,
  IDE_HD,
  SCSI_CD,
  SCSI_HD,
  VIRTIO_BLK,
} from "../../config/devices/virtio-blk.ts";
import { E1000, E1000_DEVICE_KEYS, NET_DEVICE_KEYS, VIRTIO_NET } from "../../config/devices/virtio-net.ts";
import { VIRTIO_SCSI } from "../../config/devices/virtio-scsi.ts";
import { VIRTIO_VSOCK } from "../../config/devices/virtio-vsock.ts";
import { BUILT_IN, DEVICES } from "../../config/devices.ts";
import { commandDefaults, keyHelp, keysOf, pickOptions, readKeys, together } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { typed } from "../../config/value.ts";
import { helpLines } from "../help-lines.ts";
import { type Complain, splitKeyValues, splitKeyValuesOrJson } from "../key-values.ts";
import type { HelpGroup } from "./option-row.ts";
import { whyNoDevice } from "./refused-devices.ts";
import type { Draft } from "./request.ts";
import { addIsaDebugcon, addIsaSerial } from "./serial-options.ts";

const attachment = typed("virtio|ide|scsi|pflash|none", (text, refuse) => {
  if (text === "virtio" || text === "ide" || text === "scsi" || text === "pflash" || text === "none")
    return text;
  throw refuse(`"${text}" is not possible: use if=virtio or if=scsi, or if=ide on a pc`);
});

const DRIVE_KEYS = together(
  together(keysOf(VIRTIO_BLK.options, "drive"), keysOf(IDE_DRIVE_KEYS, "drive")),
  keysOf(
    table({
      if: {
        type: attachment,
        otherwise: "ide on a pc, virtio on a microvm",
        help: "virtio, ide and scsi attach the disk to the machine; none leaves that to a -device; pflash makes it a flash chip of a pc",
      },
    }),
  ),
);

export const DRIVE_HELP: HelpGroup = { rows: keyHelp(DRIVE_KEYS) };

export function addDrive(draft: Draft, value: string, typed: string, complain: Complain): void {
  const { if: attach, bus, unit, ...options } = readKeys(splitKeyValues(value), DRIVE_KEYS, complain);
  if (attach === "pflash") {
    draft.flash.chips.push({
      typed,
      options: { ...options, ...(unit === undefined ? {} : { index: unit }) },
    });
    return;
  }
  draft.drives.push({
    typed,
    attach: attach !== "none",
    interface: attach === "none" ? undefined : attach,
    options: {
      ...commandDefaults(VIRTIO_BLK.options),
      ...options,
      ...(attach === "scsi" ? scsiPlace(bus, unit) : ideIndex(bus, unit, complain)),
    },
  });
}

/** `-hda` and the like: what the file looks like decides the format, as in QEMU. */
export function addIdeDrive(draft: Draft, file: string, typed: string, options: DriveOptions): void {
  draft.drives.push({
    typed,
    attach: true,
    interface: "ide",
    options: { ...commandDefaults(VIRTIO_BLK.options), file, format: "auto", ...options },
  });
}

function ideIndex(
  bus: number | undefined,
  unit: number | undefined,
  complain: Complain,
): Pick<DriveOptions, "index"> {
  for (const [key, value = 0] of Object.entries({ bus, unit })) {
    if (value > 1) throw complain(`${key}=${value} is out of range; give a whole number from 0 to 1`);
  }
  return bus === undefined && unit === undefined ? {} : { index: 2 * (bus ?? 0) + (unit ?? 0) };
}

function scsiPlace(
  bus: number | undefined,
  unit: number | undefined,
): Pick<DriveOptions, "controller" | "target"> {
  return {
    ...(bus === undefined ? {} : { controller: bus }),
    ...(unit === undefined ? {} : { target: unit }),
  };
}

const CARD_KEYS = together(keysOf(VIRTIO_NET.options, "device"), keysOf(NET_DEVICE_KEYS, "device"));
const E1000_KEYS = together(keysOf(E1000.options, "device"), keysOf(E1000_DEVICE_KEYS, "device"));
const DISK_KEYS = together(keysOf(VIRTIO_BLK.options, "device"), keysOf(DISK_DEVICE_KEYS, "device"));

const SCSI_DISK_KEYS = together(keysOf(SCSI_HD.options, "device"), keysOf(SCSI_DEVICE_KEYS, "device"));
const UHCI_KEYS = together(keysOf(UHCI.options, "device"), keysOf(UHCI.deviceKeys, "device"));

const IDE_DISK_KEYS = together(keysOf(IDE_HD.options, "device"), keysOf(IDE_DEVICE_KEYS, "device"));

/** Every device that -device knows, and the option of createVm that adds it. */
const KNOWN: readonly (readonly [device: DeviceTable, option?: string])[] = [
  ...Object.entries(DEVICES).map(([option, { device }]) => [device, option] as const),
  ...[IDE_HD, IDE_CD, SCSI_HD, SCSI_CD, E1000, ISA_SERIAL, ISA_DEBUGCON, UHCI].map(
    (device) => [device] as const,
  ),
  ...BUILT_IN.map((device) => [device] as const),
];

export function addDevice(draft: Draft, value: string, typed: string, complain: Complain): void {
  const all = splitKeyValuesOrJson(value, "driver", complain);
  const first = all.findIndex(({ key }) => key === "driver");
  const name = all[first]?.value;
  const pairs = all.filter((_, index) => index !== first);
  if (name === undefined) {
    throw complain("the device is missing: write its name first, as in virtio-blk-device,drive=ID");
  }
  if (name === "help" || name === "?") {
    draft.print = deviceHelp();
    return;
  }
  const [device, option] = KNOWN.find(([{ names }]) => names.includes(name)) ?? [];
  if (device === undefined) {
    const why = whyNoDevice(name);
    if (why === undefined) throw complain(unknown(name));
    draft.refused.push({ typed, why });
    return;
  }
  if (pairs.some(({ key, value }) => value === "on" && (key === "help" || key === "?"))) {
    draft.print = helpOf(device)
      .map((line) => `${line}\n`)
      .join("");
    return;
  }
  draft.named.push({ typed, name });
  if (device === ISA_SERIAL || device === ISA_DEBUGCON) {
    const add = device === ISA_SERIAL ? addIsaSerial : addIsaDebugcon;
    add(draft, pairs, typed, complain);
    return;
  }
  if (device === UHCI) {
    readKeys(pairs, UHCI_KEYS, complain);
    draft.notes.push(`${typed}: left out, as no device could be on it`);
    return;
  }
  if (VIRTIO_BLK.names.includes(name)) {
    const { drive = "", ...read } = readKeys(pairs, DISK_KEYS, complain);
    draft.disks.push({ typed, drive, options: pickOptions(VIRTIO_BLK.options, read) });
    return;
  }
  if (device === IDE_HD || device === IDE_CD) {
    const { drive, bus, unit, ...options } = readKeys(pairs, IDE_DISK_KEYS, complain);
    if (drive === undefined && device === IDE_HD) throw complain("the drive is missing: drive=ID");
    const media = device === IDE_CD ? ({ media: "cdrom" } as const) : {};
    const onIde = { interface: "ide", ...media, ...options, ...ideIndex(bus, unit, complain) } as const;
    draft.disks.push({ typed, drive, options: onIde });
    return;
  }
  if (device === SCSI_HD || device === SCSI_CD) {
    const read = readKeys(pairs, SCSI_DISK_KEYS, complain);
    const { drive, bus = "", channel: _channel, deviceId: _deviceId, ...options } = read;
    if (drive === undefined && device === SCSI_HD) throw complain("the drive is missing: drive=ID");
    const media = device === SCSI_CD ? ({ media: "cdrom" } as const) : {};
    draft.disks.push({ typed, drive, options: { interface: "scsi", ...media, ...options }, bus });
    return;
  }
  if (VIRTIO_NET.names.includes(name)) {
    const { netdev = "", ...read } = readKeys(pairs, CARD_KEYS, complain);
    draft.cards.push({
      typed,
      netdev,
      options: { model: "virtio", ...pickOptions(VIRTIO_NET.options, read) },
    });
    return;
  }
  if (device === E1000) {
    const { netdev = "", ...read } = readKeys(pairs, E1000_KEYS, complain);
    draft.cards.push({ typed, netdev, options: { model: "e1000", ...pickOptions(E1000.options, read) } });
    return;
  }
  const keys = together(keysOf(device.options, "device"), keysOf(device.deviceKeys, "device"));
  const options = pickOptions(device.options, readKeys(pairs, keys, complain));
  if (option === undefined) return;
  if (device === VIRTIO_SCSI) {
    draft.controllers.push(options);
    return;
  }
  if (draft.devices.has(option)) throw complain("this machine has one such device, and it was added already");
  // The command has no streams of its own: the kernel connects the guest.
  const given = device === VIRTIO_VSOCK ? { ...options, vhost: true } : options;
  draft.devices.set(option, Object.keys(given).length === 0 ? true : given);
}

/** `-device help`. */
export function deviceHelp(): string {
  const lines = KNOWN.flatMap(([device]) => helpOf(device));
  return `Devices:\n${lines.map((line) => `  ${line}\n`).join("")}`;
}

/** `-device NAME,help`. */
function helpOf({ names, help, options, deviceKeys }: DeviceTable): string[] {
  const keys = together(keysOf(deviceKeys, "device"), keysOf(options, "device"));
  return [`${names.join(", ")}: ${help}`, ...helpLines(keyHelp(keys), 4, 27)];
}

function unknown(name: string): string {
  const names = KNOWN.flatMap(([device]) => device.names);
  return `unknown device "${name}"${didYouMean(name, names)}; -device help lists the devices`;
}
