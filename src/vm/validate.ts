/** Checks the options of createVm: first each option by its table row, then what depends on several of them. */
import { OptionError } from "../base/errors.ts";
import { hex, hexRange } from "../base/hex.ts";
import { BOARDS } from "../config/boards.ts";
import { type Configs, checkDevices, listDevices } from "../config/device-table.ts";
import { placeIdeDrives } from "../config/devices/ide-drive.ts";
import { checkOnPci } from "../config/devices/pci.ts";
import { placeScsiDrives } from "../config/devices/scsi-drive.ts";
import { cardKind, checkCards } from "../config/devices/virtio-net.ts";
import { DEVICES } from "../config/devices.ts";
import { HPET, MACHINE, MAX_CPUS, type VmOptions } from "../config/machine.ts";
import { type Filled, fill } from "../config/schema.ts";
import { quoted } from "../config/value.ts";
import type { CpuChoice } from "../machine/cpuid.ts";
import {
  HPET_ADDRESS,
  HPET_BYTES,
  IDENTITY_MAP,
  IOAPIC,
  LOCAL_APIC,
  ramRegions,
} from "../machine/memory-map.ts";
import type { OwnDeviceSpec } from "../machine/spec.ts";
import { perSocket, placeOf, type Topology } from "../machine/topology.ts";
import { isNbdName } from "../nbd/address.ts";

/** Ids from 255 on need x2APIC structures in the MADT. */
const MAX_APIC_ID = MAX_CPUS;

type Filling = Filled<typeof MACHINE>;

/** The options with every default filled in. */
export interface CheckedOptions
  extends Omit<Filling, keyof typeof DEVICES | "topology">,
    Configs<typeof DEVICES> {
  readonly topology: Topology;
  /** What `cpu` means, if it is not simply the host's: see load-extras.ts. */
  readonly cpuChoice?: CpuChoice;
  /** Tables besides those that describe every machine: see load-extras.ts. */
  readonly acpiTables?: readonly Uint8Array[];
  /** `devices` in the form of the machine's spec: where the program's own devices are. */
  readonly ownDevices: readonly OwnDeviceSpec[];
}

/** @throws {OptionError} that names the option, the given value and the possible ones. */
export function checkOptions(options: VmOptions | Readonly<Record<string, unknown>>): CheckedOptions {
  const filled = fill(MACHINE, options, "");
  const board = BOARDS[filled.machine];
  if (filled.kernel === undefined && !board.firmware) {
    throw new OptionError(
      `kernel: missing; give the path of a bzImage, a vmlinux, a Multiboot kernel or a flat binary`,
    );
  }
  if (filled.hpet && !board.pci) throw new OptionError("hpet: a microvm has none; make the machine a pc");
  if (filled.fwCfg.length > 0 && !board.firmware) {
    throw new OptionError("fwCfg: this kind of machine has no fw_cfg device; a PC has one");
  }
  if (filled.flash.length > 0 && (!board.firmware || filled.kernel !== undefined)) {
    throw new OptionError("flash: it holds the firmware of a PC, and this machine starts without firmware");
  }
  if (filled.flash.length > 0 && filled.firmware !== undefined) {
    throw new OptionError("flash: the firmware is in the first chip; leave out firmware (-bios)");
  }
  if (filled.smbios.length > 0 && (!board.firmware || filled.kernel !== undefined)) {
    throw new OptionError("smbios: the tables are for a pc's firmware, and this machine starts without it");
  }
  const checked = checkDevices(DEVICES, withController(filled), filled.cpus);
  const drives = placeScsiDrives(placeIdeDrives(checked.drives, board.pci), checked.scsi);
  const configs = { ...checked, drives };
  checkOnPci(configs, board.pci);
  checkCards(configs.network, board.pci);
  const elsewhere = configs.drives.filter((drive) => drive.interface !== "virtio").length;
  const count = listDevices(DEVICES, configs).length - elsewhere;
  const most = board.virtioDevices;
  if (count > most) {
    throw new OptionError(
      `createVm: ${count} virtio devices (drives and others) are too many; this machine has room for ${most}`,
    );
  }
  const ownDevices = filled.devices.map((device, index) => checkPlace(device, index, filled));
  if (filled.threads === "pooled" && waitsForProgram({ ownDevices, drives })) {
    throw new OptionError(
      'threads: "pooled" needs a machine without devices and disks of the program\'s own, and without NBD disks; use "auto" or "own"',
    );
  }
  return { ...filled, ...configs, ownDevices, topology: checkTopology(filled) };
}

/** A drive on SCSI needs a controller. */
function withController(filled: Filling): Filling {
  const needsOne =
    filled.scsi.length === 0 && filled.drives.some((drive) => Object(drive).interface === "scsi");
  return needsOne ? { ...filled, scsi: [{}] } : filled;
}

/** Of what was left out, there are as many cores as there have to be. */
function checkTopology({ cpus, topology: given }: Filling): Topology {
  const { sockets, dies, threads } = given;
  const topology = {
    sockets,
    dies,
    cores: given.cores ?? Math.ceil(cpus / (sockets * dies * threads)),
    threads,
  };
  const room = sockets * perSocket(topology);
  if (room < cpus) {
    throw new OptionError(`topology: there is room for ${room} CPUs, and cpus is ${cpus}`);
  }
  const { apicId } = placeOf(topology, cpus - 1);
  if (apicId > MAX_APIC_ID) {
    throw new OptionError(
      `topology: the last CPU would have APIC id ${apicId}; this version has ids up to ${MAX_APIC_ID}. Powers of two leave no gaps`,
    );
  }
  return topology;
}

/** The kinds of the machine's devices. */
export function deviceKinds(options: CheckedOptions): string[] {
  const others = listDevices(DEVICES, { ...options, network: [] }).map(({ kind }) => kind);
  return [...others, ...options.network.map(cardKind), ...(options.hpet ? [HPET] : [])];
}

function checkPlace(
  device: Filling["devices"][number],
  index: number,
  { memory, pit, hpet }: Pick<Filling, "memory" | "pit" | "hpet">,
): OwnDeviceSpec {
  const where = `devices[${index}]`;
  const { port, address, length, handlers, name = where } = device;
  if ((port === undefined) === (address === undefined)) {
    throw new OptionError(`${where}: give either port or address`);
  }
  for (const key of ["read", "write"] as const) {
    const handler = handlers[key]; // may be inherited: a device can be an object of a class
    if (handler !== undefined && typeof handler !== "function") {
      throw new OptionError(`${where}.handlers.${key}: ${quoted(handler)} is not a function`);
    }
  }
  if (port !== undefined) {
    if (port + length > 0x10000) {
      throw new OptionError(
        `${where}.length: ${length} ports from ${port} on are beyond the last port, 65535`,
      );
    }
    refuseTaken(where, `${length} ports at`, port, length, kernelPorts(pit));
    return { name, space: "ports", address: port, length };
  }
  const start = address ?? 0;
  refuseTaken(where, `${length} bytes at`, start, length, [
    ...kernelMemory(memory),
    ...(hpet ? [{ what: "the HPET", start: HPET_ADDRESS, end: HPET_ADDRESS + HPET_BYTES }] : []),
  ]);
  return { name, space: "memory", address: start, length };
}

/** Whether threads of the machine may wait for the program, or for a server: such a thread serves no other machine. */
export function waitsForProgram({
  ownDevices,
  drives,
}: Pick<CheckedOptions, "ownDevices" | "drives">): boolean {
  const hasOwnDisk = drives.some(
    ({ source, file }) => source !== undefined || (file !== undefined && isNbdName(file)),
  );
  return ownDevices.length > 0 || hasOwnDisk;
}

interface Taken {
  readonly what: string;
  readonly start: number;
  readonly end: number;
}

/** @throws {OptionError} if the kernel answers there: the device would never be asked. */
function refuseTaken(
  where: string,
  given: string,
  start: number,
  length: number,
  ranges: readonly Taken[],
): void {
  const taken = ranges.find((range) => start < range.end && range.start < start + length);
  if (taken === undefined) return;
  const { what, start: first, end } = taken;
  throw new OptionError(`${where}: ${given} ${hex(start)} overlap ${what}, ${hexRange(first, end - first)}`);
}

/** I/O ports whose accesses never exit to user space. */
function kernelPorts(pit: boolean): Taken[] {
  const pics = [0x20, 0xa0, 0x4d0].map((start) => ({
    what: "the interrupt controllers",
    start,
    end: start + 2,
  }));
  if (!pit) return pics;
  return [
    ...pics,
    { what: "the PIT (leave it out with pit: false)", start: 0x40, end: 0x44 },
    { what: "the PIT's gate (leave it out with pit: false)", start: 0x61, end: 0x62 },
  ];
}

/** Guest-physical memory whose accesses never exit to user space. */
function kernelMemory(memory: number): Taken[] {
  const ram = ramRegions(memory).map(({ address, size }) => ({
    what: "the guest's RAM",
    start: address,
    end: address + size,
  }));
  return [
    ...ram,
    { what: "the I/O APIC", start: IOAPIC, end: IOAPIC + 0x1000 },
    { what: "the local APICs", start: LOCAL_APIC, end: LOCAL_APIC + 0x1000 },
    { what: "pages that KVM uses", start: IDENTITY_MAP, end: IDENTITY_MAP + 0x4000 },
  ];
}
