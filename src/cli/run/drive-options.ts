/**
 * `-drive` and `-device`.
 *
 * Two ways lead to a disk, as with QEMU: `-drive if=virtio,…` alone, or
 * `-drive if=none,id=ID,…` with `-device virtio-blk-device,drive=ID`. In place of
 * the latter's -drive may stand a `-blockdev`: see blockdev-options.ts.
 *
 * Source: QEMU 7.2, qemu-options.hx (-drive, -device) and docs/system/i386/microvm.rst.
 */
import { didYouMean } from "../../base/errors.ts";
import type { Complain, KeyRow } from "../key-values.ts";
import { count, keyLines, onOff, setKeys, setPairs, splitKeyValues } from "../key-values.ts";
import { DRIVE_DEFAULTS, DRIVE_KEYS, RERROR_KEY, serialNumber, WERROR_KEY } from "./drive-keys.ts";
import type { Draft, DriveDraft } from "./request.ts";

export function addDrive(draft: Draft, value: string, typed: string, complain: Complain): void {
  const drive: DriveDraft = { typed, attach: true, options: { ...DRIVE_DEFAULTS } };
  setKeys(value, DRIVE_KEYS, drive, complain);
  draft.drives.push(drive);
}

interface DeviceKind {
  readonly names: readonly string[];
  readonly help: string;
  readonly keys: readonly KeyRow<Draft["blockDevices"][number]>[];
  add(draft: Draft, device: Draft["blockDevices"][number]): void;
}

const ID_KEY: DeviceKind["keys"][number] = {
  name: "id",
  values: "ID",
  help: "accepted; changes nothing",
  set: () => {},
};

const DEVICES: readonly DeviceKind[] = [
  {
    names: ["virtio-blk-device", "virtio-blk"],
    help: "attaches a -drive with if=none, or a -blockdev",
    keys: [
      {
        name: "drive",
        values: "ID",
        help: "the id of the -drive, or the node-name of the -blockdev; required",
        set: (device, value) => {
          device.drive = value;
        },
      },
      {
        name: "serial",
        values: "TEXT",
        help: "the disk's serial number, at most 20 characters",
        set: (device, value, complain) => {
          device.options.serial = serialNumber(value, complain);
        },
      },
      {
        name: "num-queues",
        values: "N",
        help: "request queues; by default one per CPU",
        set: (device, value, complain) => {
          device.options.queues = count("num-queues", value, complain);
        },
      },
      orAuto({
        name: "write-cache",
        values: "on|off",
        help: "off: each write is on stable storage when it completes",
        set: (device, value, complain) => {
          device.options.writeCache = onOff("write-cache", value, complain);
        },
      }),
      orAuto(RERROR_KEY),
      orAuto(WERROR_KEY),
      {
        name: "bootindex",
        values: "N",
        help: "accepted; changes nothing, as there is no firmware that would ask",
        set: (_device, value, complain) => {
          if (!/^-?[0-9]{1,9}$/.test(value)) throw complain(`bootindex="${value}" is not a number`);
        },
      },
      ID_KEY,
    ],
    add: (draft, device) => {
      draft.blockDevices.push(device);
    },
  },
  {
    names: ["virtio-rng-device", "virtio-rng"],
    help: "a source of random numbers, fed by the host's",
    keys: [ID_KEY],
    add: (draft) => {
      draft.vm.rng = true;
    },
  },
  {
    names: ["isa-debug-exit"],
    help: "lets the guest end the machine with a status; always there, at port 0xf4",
    keys: [fixedNumber("iobase", 0xf4, "the port"), fixedNumber("iosize", 4, "its width in bytes"), ID_KEY],
    add: () => {},
  },
];

export function addDevice(draft: Draft, value: string, typed: string, complain: Complain): void {
  const [{ key, value: name }, ...pairs] = splitKeyValues(value, "driver");
  if (key !== "driver")
    throw complain(`the device is missing: write its name first, as in ${DEVICES[0].names[0]},drive=ID`);
  if (name === "help" || name === "?") {
    draft.print = deviceHelp();
    return;
  }
  const kind = DEVICES.find((kind) => kind.names.includes(name));
  if (kind === undefined) throw complain(refusal(name));
  // QEMU has isa-debug-exit at 0x501 unless told otherwise; a guest made for that port would wait for ever.
  if (name === "isa-debug-exit" && !pairs.some(({ key }) => key === "iobase")) {
    throw complain("here this device is at port 0xf4: write isa-debug-exit,iobase=0xf4,iosize=0x04");
  }
  const device = { typed, options: {} };
  setPairs(pairs, kind.keys, device, complain);
  kind.add(draft, device);
}

/** `-device help`. */
export function deviceHelp(): string {
  const lines = DEVICES.flatMap((kind) => [
    `  ${kind.names.join(", ")}: ${kind.help}`,
    ...keyLines(kind.keys, "      "),
  ]);
  return `Devices:\n${lines.join("\n")}\n`;
}

export const DRIVE_KEY_LINES = keyLines(DRIVE_KEYS);

function refusal(name: string): string {
  if (/^(virtio-(blk|rng))-(pci|ccw)/.test(name)) {
    return `this machine has no PCI bus; use ${name.replace(/-(pci|ccw).*/, "-device")}`;
  }
  if (name.startsWith("virtio-net") || name.startsWith("e1000") || name.startsWith("rtl8139")) {
    return "this version has no network device";
  }
  const names = DEVICES.flatMap((kind) => kind.names);
  return `unknown device "${name}"${didYouMean(name, names)}; -device help lists the devices`;
}

/** A key for which `auto` is: as the drive says. */
function orAuto(key: DeviceKind["keys"][number]): DeviceKind["keys"][number] {
  return {
    ...key,
    values: `${key.values}|auto`,
    set: (device, value, complain) => {
      if (value !== "auto") key.set(device, value, complain);
    },
  };
}

/** A key that may only say what is so. */
function fixedNumber(name: string, fixed: number, help: string): DeviceKind["keys"][number] {
  const values = `0x${fixed.toString(16).padStart(2, "0")}`;
  return {
    name,
    values,
    help,
    set: (_device, value, complain) => {
      if (Number(value) !== fixed) throw complain(`${name}=${value}: on this machine it is ${values}`);
    },
  };
}
