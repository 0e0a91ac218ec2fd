/**
 * The options of `vmexit run`: QEMU's names, with one dash or two. The parser and
 * `--help` both read this table, so neither can know an option that the other does
 * not.
 *
 * Source: QEMU 7.2, qemu-options.hx. qemu-options.ts answers options of QEMU that
 * mean nothing to this machine.
 */
import { MACHINE } from "../../config/machine.ts";
import { addBlockdev, BLOCKDEV_HELP } from "./blockdev-options.ts";
import { CLOUD_INIT_OPTIONS } from "./cloud-init-options.ts";
import { addDevice, addDrive, DRIVE_HELP } from "./drive-options.ts";
import { FIRMWARE_OPTIONS } from "./firmware-options.ts";
import { GDB_OPTIONS } from "./gdb-options.ts";
import { IDE_OPTIONS } from "./ide-options.ts";
import { MACHINE_OPTIONS } from "./machine-options.ts";
import { addMemoryObject, IOTHREAD_HELP, MEMORY_OBJECT_HELP } from "./memory-options.ts";
import { addNet, addNetdev, addNic, addObject, DUMP_HELP, NETDEV_HELP, NIC_HELP } from "./net-options.ts";
import type { OptionRow } from "./option-row.ts";
import { SERIAL_OPTIONS } from "./serial-options.ts";
import { SNAPSHOT_OPTIONS } from "./snapshot-options.ts";
import { addTrace, TRACE_KEYS } from "./trace-options.ts";

/** Options of which none is the only value, and what this version does not have. */
const ABSENT = {
  display: "display",
  vga: "graphics card",
  monitor: "monitor",
  parallel: "parallel port",
};

export const OPTIONS: readonly OptionRow[] = [
  {
    names: ["kernel"],
    argument: "FILE",
    example: "-kernel vmlinuz",
    help: `${MACHINE.kernel.help} with -load-address`,
    apply: (draft, value) => {
      draft.kernel = value;
    },
  },
  {
    names: ["initrd"],
    argument: "FILE",
    example: "-initrd initrd.img",
    help: MACHINE.initrd.help,
    apply: (draft, value) => {
      draft.vm.initrd = value;
    },
  },
  {
    names: ["append"],
    argument: "TEXT",
    example: "-append 'console=ttyS0'",
    help: MACHINE.cmdline.help,
    anyText: true,
    apply: (draft, value) => {
      draft.vm.cmdline = value;
    },
  },
  {
    names: ["load-address"],
    argument: "ADDRESS",
    example: "-load-address 0x1000",
    help: MACHINE.loadAddress.help,
    apply: (draft, value, _typed, complain) => {
      draft.vm.loadAddress = MACHINE.loadAddress.type.parse(value, complain);
    },
  },
  {
    names: ["bios"],
    argument: "FILE",
    example: "-bios bios.bin",
    help: `${MACHINE.firmware.help} (default: ${MACHINE.firmware.otherwise})`,
    apply: (draft, value) => {
      draft.vm.firmware = value;
    },
  },
  {
    names: ["L"],
    argument: "DIR",
    example: "-L /usr/share/seabios",
    help: MACHINE.firmwareFolder.help.replace("`firmware`", "the firmware"),
    apply: (draft, value) => {
      draft.vm.firmwareFolder = value;
    },
  },
  ...MACHINE_OPTIONS,
  {
    names: ["drive"],
    argument: "file=PATH[,KEY=VALUE…]",
    example: "-drive file=disk.img,format=raw",
    help: "adds a disk; may be repeated. A comma in a value is written twice. Keys:",
    values: [DRIVE_HELP],
    apply: addDrive,
  },
  ...IDE_OPTIONS,
  ...FIRMWARE_OPTIONS,
  {
    names: ["blockdev"],
    argument: "driver=NAME,node-name=NODE[,KEY=VALUE…]",
    example: "-blockdev driver=file,filename=disk.img,node-name=d0",
    help: "describes a disk that a -device attaches, as keys or as JSON. Drivers and keys:",
    values: BLOCKDEV_HELP,
    apply: addBlockdev,
  },
  {
    names: ["snapshot"],
    help: "the guest's writes to all disks go to temporary files, and the images do not change",
    apply: (draft) => {
      draft.snapshot = true;
    },
  },
  {
    names: ["device"],
    argument: "NAME[,KEY=VALUE…]",
    example: "-device virtio-rng-device",
    help: "adds a device, as keys or as JSON; -device help lists the devices and their keys, -device NAME,help the keys of one",
    apply: addDevice,
  },
  ...CLOUD_INIT_OPTIONS,
  ...SNAPSHOT_OPTIONS,
  {
    names: ["netdev"],
    argument: "TYPE,id=ID[,KEY=VALUE…]",
    example: "-netdev tap,id=n0,ifname=tap0,script=no",
    help: "describes a network that a -device attaches a card to, as keys or as JSON. Types and keys:",
    values: NETDEV_HELP,
    apply: addNetdev,
  },
  {
    names: ["nic"],
    argument: "TYPE[,KEY=VALUE…]",
    example: "-nic tap,ifname=tap0,script=no",
    help: "adds a network card and its network; -nic none adds none. Keys:",
    values: [NIC_HELP],
    apply: addNic,
  },
  {
    names: ["net"],
    argument: "nic|TYPE[,KEY=VALUE…]",
    example: "-net nic,model=virtio -net tap,ifname=tap0,script=no",
    help: "the old form of -nic: one for the card (nic), another for its network",
    apply: addNet,
  },
  {
    names: ["object"],
    argument: "TYPE,KEY=VALUE…",
    example: "-object filter-dump,id=f0,netdev=n0,file=n0.pcap",
    help: "adds an object; rng-random and rng-builtin are accepted:",
    values: [
      DUMP_HELP,
      {
        rows: [
          ["memory-backend-ram|memory-backend-memfd|memory-backend-file,id=ID,size=SIZE", MEMORY_OBJECT_HELP],
          ["iothread,id=ID[,poll-max-ns=NS][,poll-grow=N][,poll-shrink=N]", IOTHREAD_HELP],
        ],
      },
    ],
    apply: (draft, value, typed, complain) => {
      const add = value.startsWith("{") || value.includes("filter-dump") ? addObject : addMemoryObject;
      add(draft, value, typed, complain);
    },
  },
  ...SERIAL_OPTIONS,
  {
    names: ["nographic"],
    help: "accepted: this machine has no display; COM1 is the terminal",
    apply: () => {},
  },
  {
    names: ["no-reboot"],
    help: "the machine ends when the guest resets itself, and does not start it again",
    apply: (draft) => {
      draft.vm.onReset = "exit";
    },
  },
  {
    names: ["trace"],
    argument: "WHAT",
    example: "-trace exits=boot.trace",
    help: "records what happens; may be repeated. WHAT is unclaimed, firmware, or exits=FILE and other keys:",
    values: [{ rows: TRACE_KEYS }],
    apply: addTrace,
  },
  ...GDB_OPTIONS,
  {
    names: ["stats"],
    help: "prints the counters of the machine and of KVM when the machine has ended",
    apply: (draft) => {
      draft.stats = true;
    },
  },
  {
    names: ["nodefaults"],
    help: "COM1 is connected to nothing, unless -serial connects it",
    apply: (draft) => {
      draft.noDefaults = true;
    },
  },
  {
    names: ["usb"],
    help: "accepted and ignored: USB devices are not supported",
    apply: (draft, _value, typed) => {
      draft.notes.push(`${typed}: left out, as no device could be on it`);
    },
  },
  {
    names: ["sandbox"],
    argument: "off",
    help: "accepted: the process is not confined; run it under a user account of its own",
    apply: (draft, value, typed) => {
      if (value === "off" || value === "enable=off") return;
      draft.refused.push({
        typed,
        why: "the process is not confined; run it under a user account of its own",
      });
    },
  },
  {
    names: ["no-user-config"],
    help: "accepted: without -readconfig, no file of options is read",
    apply: () => {},
  },
  ...Object.entries(ABSENT).map(
    ([name, what]): OptionRow => ({
      names: [name],
      argument: "none",
      help: `accepted: this version has no ${what}`,
      apply: (draft, value, typed) => {
        if (value !== "none")
          draft.refused.push({ typed, why: `this version has no ${what}; write -${name} none` });
      },
    }),
  ),
  {
    names: ["help", "h"],
    help: "prints this text",
    apply: (draft) => {
      draft.wantsHelp = true;
    },
  },
];
