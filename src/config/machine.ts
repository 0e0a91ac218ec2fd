/** The options of `createVm`. */
import { BOARD_NAMES } from "./boards.ts";
import { DEVICES } from "./devices.ts";
import { group, list, type Options, table } from "./schema.ts";
import {
  array,
  bootOrder,
  callback,
  content,
  each,
  flag,
  integer,
  object,
  size,
  text,
  uuid,
  words,
} from "./value.ts";

const MIB = 2 ** 20;
const TIB = 2 ** 40;
/** KVM's own limit is higher; this one keeps APIC ids in the 8 bits of a MADT local APIC entry. */
export const MAX_CPUS = 254;

/** Fields of one SMBIOS table, by QEMU's names: types 0, 1, 2, 3, 4, 11 and 17. */
export interface SmbiosTable {
  readonly type: number | string;
  readonly [field: string]: string | number | boolean | readonly string[];
}

/** Registers of a device that the program itself provides. It runs on the caller's thread. */
export interface DeviceHandlers {
  /** Answers a load of `size` bytes (1, 2 or 4) at `offset` from the start of the range. */
  read?(offset: number, size: number): number | Promise<number>;
  /** Takes a store. The guest continues when the promise is settled. */
  write?(offset: number, size: number, value: number): void | Promise<void>;
}

/** An access that no device answered. */
export interface UnclaimedAccess {
  readonly space: "port" | "memory";
  readonly direction: "read" | "write";
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** What was written; all ones for a read. */
  readonly value: number;
}

const CPU_TOPOLOGY = table({
  /** Sockets. Default: `1`. */
  sockets: { type: integer(1, MAX_CPUS), default: 1, help: "sockets" },
  /** Dies in a socket. Default: `1`. */
  dies: { type: integer(1, MAX_CPUS), default: 1, help: "dies in a socket" },
  /** Cores in a die. Default: as many as there have to be. */
  cores: {
    type: integer(1, MAX_CPUS),
    otherwise: "as many as there have to be",
    help: "cores in a die",
  },
  /** Threads in a core. Default: `1`. */
  threads: { type: integer(1, MAX_CPUS), default: 1, help: "threads in a core" },
});

/** How the thread that serves the devices polls before it sleeps. Also the keys of -object iothread. */
export const POLLING = table({
  /** Nanoseconds that it polls at most; `0`: never. Default: `2000000`. */
  maxNs: {
    qemu: { option: ["poll-max-ns"] },
    type: integer(0, 1e9, "NS"),
    default: 2_000_000,
    help: "nanoseconds that it polls at most; `0`: never",
  },
  /** By how much longer polls become when requests come soon after them; `0`: 2. Default: `0`. */
  grow: {
    qemu: { option: ["poll-grow"] },
    type: integer(0, 1000),
    default: 0,
    help: "by how much longer polls become when requests come soon after them; `0`: 2",
  },
  /** By how much shorter they become when none comes for long; `0`: they begin anew. Default: `0`. */
  shrink: {
    qemu: { option: ["poll-shrink"] },
    type: integer(0, 1000),
    default: 0,
    help: "by how much shorter they become when none comes for long; `0`: they begin anew",
  },
});

const NUMA_NODE = table({
  /** Its CPUs, by index. Without any, a socket is in a node. */
  cpus: {
    type: each(integer(0, MAX_CPUS - 1)),
    help: "its CPUs, by index. Without any, a socket is in a node",
  },
  /** Its memory. Default: the same for all. */
  memory: {
    type: size(0, TIB, "from 0 to 1T", 4096),
    otherwise: "the same for all",
    help: "its memory",
  },
  /** How far each node is, where 10 is itself. Default: `20` for others. */
  distances: {
    type: each(integer(10, 255)),
    otherwise: "`20` for others",
    help: "how far each node is, where 10 is itself",
  },
});

const OWN_DEVICE = table({
  /** Its name in the address map and in statistics. Default: `devices[N]`. */
  name: {
    type: text("NAME"),
    otherwise: "`devices[N]`",
    help: "its name in the address map and in statistics",
  },
  /** Its first I/O port. */
  port: { type: integer(0, 0xffff), help: "its first I/O port" },
  /** Its first guest-physical address, if it is not at a port. */
  address: { type: integer(0, 2 ** 46), help: "its first guest-physical address, if it is not at a port" },
  /** Bytes from there on. */
  length: { type: integer(1, 2 ** 30), required: "give it in bytes", help: "bytes from there on" },
  /** What answers the guest. */
  handlers: {
    type: object<DeviceHandlers>(),
    required: "give { read, write }",
    help: "what answers the guest",
  },
});

const FLASH = table({
  /** The file with its bytes; what the guest writes goes there. */
  file: {
    type: text("FILE"),
    required: "give the path of a file",
    help: "the file with its bytes; what the guest writes goes there",
  },
  /** The guest cannot write it. Default: `false`. */
  readOnly: { type: flag, default: false, help: "the guest cannot write it" },
});

const FW_CFG_FILE = table({
  /** Its name, up to 55 characters. It should begin with opt/. */
  name: {
    type: text("NAME"),
    required: "give the name by which the guest finds it, as opt/com.example/file",
    help: "its name, up to 55 characters. It should begin with opt/",
  },
  /** What is in it. */
  file: { type: content, help: "what is in it" },
  /** What is in it, as text. */
  string: { type: text("TEXT"), help: "what is in it, as text" },
});

const CLOUD_INIT = table({
  /** `#cloud-config` and YAML, or a script. Default: an empty `#cloud-config`. */
  userData: {
    type: text("TEXT"),
    otherwise: "an empty `#cloud-config`",
    help: "`#cloud-config` and YAML, or a script",
  },
  /** YAML: instance-id, local-hostname .... Default: an instance-id. */
  metaData: {
    type: text("TEXT"),
    otherwise: "an instance-id",
    help: "YAML: instance-id, local-hostname ...",
  },
  /** YAML. Default: DHCP on the first card. */
  networkConfig: { type: text("TEXT"), otherwise: "DHCP on the first card", help: "YAML" },
});

export type CloudInitOptions = Options<typeof CLOUD_INIT>;

export type DeviceOptions = Options<typeof OWN_DEVICE>;

/** The kind of a high precision event timer, as a device of a machine. */
export const HPET = "hpet";

export const MACHINE = table({
  /** What to start: a bzImage, an ELF vmlinux with a PVH entry, a Multiboot kernel, or a flat binary. */
  kernel: {
    type: content,
    help: "what to start: a bzImage, an ELF vmlinux with a PVH entry, a Multiboot kernel, or a flat binary",
    see: "boot.md#multiboot",
  },
  /** The kernel is a flat real-mode binary, loaded and entered at this address below 1 MiB. */
  loadAddress: {
    type: integer(0, MIB - 1, "ADDRESS"),
    help: "the kernel is a flat real-mode binary, loaded and entered at this address below 1 MiB",
  },
  /** What a pc without a kernel starts: the image of a BIOS. Default: SeaBIOS, as the host has it. */
  firmware: {
    type: content,
    otherwise: "SeaBIOS, as the host has it",
    help: "what a pc without a kernel starts: the image of a BIOS",
    see: "pc.md#firmware",
  },
  /**
   * Flash chips with the firmware of a pc, such as OVMF, and its variables: in place of `firmware`. Default:
   * `[]`.
   */
  flash: {
    type: list(FLASH),
    default: [],
    help: "flash chips with the firmware of a pc, such as OVMF, and its variables: in place of `firmware`",
    see: "pc.md#uefi",
  },
  /** A folder in which `firmware` is searched before the usual ones. */
  firmwareFolder: {
    type: text("DIR"),
    help: "a folder in which `firmware` is searched before the usual ones",
  },
  /** What firmware boots from, first choice first: a floppy, c disk, d CD, n network. Default: `"cad"`. */
  bootOrder: {
    type: bootOrder,
    default: "cad",
    help: "what firmware boots from, first choice first: a floppy, c disk, d CD, n network",
  },
  /** The same for the time until the guest's first reset. */
  bootOnce: { type: bootOrder, help: "the same for the time until the guest's first reset" },
  /** Firmware offers a menu of what to boot from. Default: `false`. */
  bootMenu: { type: flag, default: false, help: "firmware offers a menu of what to boot from" },
  /** Firmware boots from drives and cards with a bootindex alone, if there are any. Default: `false`. */
  bootStrict: {
    type: flag,
    default: false,
    help: "firmware boots from drives and cards with a bootindex alone, if there are any",
  },
  /** The machine's UUID, which a pc's firmware shows in SMBIOS and at its start. */
  uuid: { type: uuid, help: "the machine's UUID, which a pc's firmware shows in SMBIOS and at its start" },
  /** Files that firmware and guest of a pc find by fw_cfg. Default: `[]`. */
  fwCfg: {
    type: list(FW_CFG_FILE),
    default: [],
    help: "files that firmware and guest of a pc find by fw_cfg",
    see: "pc.md#files-by-fw_cfg",
  },
  /** Fields of the SMBIOS tables of a pc's firmware, as in `{ type: 1, serial: "42" }`. Default: `[]`. */
  smbios: {
    type: array<SmbiosTable>(),
    default: [],
    help: 'fields of the SMBIOS tables of a pc\'s firmware, as in `{ type: 1, serial: "42" }`',
    see: "pc.md#smbios",
  },
  /** The initial RAM disk; for a Multiboot kernel, its module. */
  initrd: { type: content, help: "the initial RAM disk; for a Multiboot kernel, its module" },
  /** The kernel's command line. Default: `""`. */
  cmdline: { type: text("TEXT"), default: "", help: "the kernel's command line" },
  /** The guest's memory, a multiple of 4K. Default: `"128M"`. */
  memory: {
    type: size(MIB, TIB, "from 1M to 1T", 4096),
    default: "128M",
    help: "the guest's memory, a multiple of 4K",
  },
  /**
   * What guest memory is on the host: a memfd, or private anonymous memory, which some hosts give huge pages.
   * Default: `"memfd"`.
   */
  memoryBacking: {
    type: words(["memfd", "anonymous"]),
    default: "memfd",
    help: "what guest memory is on the host: a memfd, or private anonymous memory, which some hosts give huge pages",
  },
  /** CPUs. Default: `1`. */
  cpus: { type: integer(1, MAX_CPUS), default: 1, help: "CPUs" },
  /** How the guest sees its CPUs divided. There may be room for more than `cpus`. Default: `{}`. */
  topology: {
    type: group(CPU_TOPOLOGY),
    default: {},
    help: "how the guest sees its CPUs divided. There may be room for more than `cpus`",
    see: "cpu-models.md#sockets-cores-threads",
  },
  /**
   * The CPU: `"host"`, or a model with what is to be different, as in `"SandyBridge,+erms,kvm=off"`. Default:
   * `"host"`.
   */
  cpu: {
    type: text("MODEL"),
    default: "host",
    help: 'the CPU: `"host"`, or a model with what is to be different, as in `"SandyBridge,+erms,kvm=off"`',
    see: "cpu-models.md",
  },
  /** Nodes of memory and CPUs, as the guest sees them. The host's are not bound to them. Default: `[]`. */
  numa: {
    type: list(NUMA_NODE),
    default: [],
    help: "nodes of memory and CPUs, as the guest sees them. The host's are not bound to them",
  },
  /** Takes guest memory from the host's pool of pages of 2 MiB. Default: `false`. */
  hugePages: {
    type: flag,
    default: false,
    help: "takes guest memory from the host's pool of pages of 2 MiB",
  },
  /** Allocates all guest memory before the guest starts. Default: `false`. */
  prealloc: {
    type: flag,
    default: false,
    help: "allocates all guest memory before the guest starts",
  },
  ...DEVICES,
  /** Adds a read-only disk behind the others, labelled cidata, that cloud-init and CirrOS read. */
  cloudInit: {
    type: group(CLOUD_INIT),
    help: "adds a read-only disk behind the others, labelled cidata, that cloud-init and CirrOS read",
    see: "user-network.md#cloud-init",
  },
  /** Serial ports: COM1 and up. Default: `1`. */
  serialPorts: { type: integer(1, 4), default: 1, help: "serial ports: COM1 and up" },
  /** A PIT (i8254 timer) at ports 0x40 to 0x43 and 0x61. Default: `true`. */
  pit: { type: flag, default: true, help: "a PIT (i8254 timer) at ports 0x40 to 0x43 and 0x61" },
  /** A high precision event timer; only a pc has one. Default: `false`. */
  hpet: { type: flag, default: false, help: "a high precision event timer; only a pc has one" },
  /** A VM generation ID (ACPI), by which a guest finds that it is a copy. Default: `true`. */
  generationId: {
    type: flag,
    default: true,
    help: "a VM generation ID (ACPI), by which a guest finds that it is a copy",
    see: "snapshots.md#copies-and-random-numbers",
  },
  /** Devices that the program provides. Default: `[]`. */
  devices: {
    type: list(OWN_DEVICE),
    default: [],
    help: "devices that the program provides",
    see: "library.md#devices-of-your-own",
  },
  /** By how many milliseconds the CMOS clock is ahead of UTC when the machine starts. Default: `0`. */
  rtcOffset: {
    type: integer(-(2 ** 47), 2 ** 47, "MS"),
    default: 0,
    help: "by how many milliseconds the CMOS clock is ahead of UTC when the machine starts",
  },
  /** The CMOS clock of a pc repeats periodic interrupts that were lost. Default: `false`. */
  rtcSlew: {
    type: flag,
    default: false,
    help: "the CMOS clock of a pc repeats periodic interrupts that were lost",
  },
  /** What happens when the guest resets itself: it starts again, or the machine ends. Default: `"reset"`. */
  onReset: {
    type: words(["reset", "exit"]),
    default: "reset",
    help: "what happens when the guest resets itself: it starts again, or the machine ends",
  },
  /** Called for each access that no device answers; slow. */
  onUnclaimed: {
    type: callback<(access: UnclaimedAccess) => void>(),
    help: "called for each access that no device answers; slow",
  },
  /** The machine's name, for messages. Default: `"vm"`. */
  name: { type: text("NAME"), default: "vm", help: "the machine's name, for messages" },
  /**
   * The kind of machine: a microvm, or a PC with PCI, which can start without a kernel, by its firmware.
   * Default: `"microvm"`.
   */
  machine: {
    type: words(BOARD_NAMES),
    default: "microvm",
    help: "the kind of machine: a microvm, or a PC with PCI, which can start without a kernel, by its firmware",
  },
  /**
   * Threads of the machine's own, or a share of threads that serve several machines; `"auto"`: the program's
   * first machine has its own. Default: `"auto"`.
   */
  threads: {
    type: words(["auto", "own", "pooled"]),
    default: "auto",
    help: `threads of the machine's own, or a share of threads that serve several machines; \`"auto"\`: the program's first machine has its own`,
    see: "threads.md#several-machines-on-one-thread",
  },
  /**
   * How the thread that serves the devices polls for their requests, which it does only while that saves
   * time. Threads that are shared follow the first machine that they serve. Default: `{}`.
   */
  polling: {
    type: group(POLLING),
    default: {},
    help: "how the thread that serves the devices polls for their requests, which it does only while that saves time. Threads that are shared follow the first machine that they serve",
    see: "threads.md#polling",
  },
  /** The device of KVM. Default: `"/dev/kvm"`. */
  kvm: { type: text("PATH"), default: "/dev/kvm", help: "the device of KVM" },
});

export type VmOptions = Options<typeof MACHINE>;
