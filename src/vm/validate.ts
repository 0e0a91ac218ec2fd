/**
 * Checks the options of createVm, once, and says what is wrong in a sentence.
 */
import { OptionError } from "../base/errors.ts";
import { parseSize } from "../base/units.ts";
import { IDENTITY_MAP, IOAPIC, LOCAL_APIC, ramRegions, VIRTIO_IRQS } from "../machine/memory-map.ts";
import type { OwnDeviceSpec } from "../machine/spec.ts";
import { checkKeys, describe, integer, oneOf } from "./checks.ts";
import type { DeviceOptions, VmOptions } from "./options.ts";
import { type CheckedDrive, checkDrive } from "./validate-drive.ts";

const MIB = 2 ** 20;
const MAX_MEMORY = 2 ** 40;
/** KVM's own limit is higher; this one keeps APIC ids in the 8 bits of a MADT local APIC entry. */
export const MAX_CPUS = 254;

const VM_KEYS = {
  name: "string",
  machine: "string",
  memory: "size",
  memoryBacking: "string",
  cpus: "number",
  kernel: "bytes",
  loadAddress: "number",
  initrd: "bytes",
  cmdline: "string",
  drives: "array",
  serialPorts: "number",
  rng: "boolean",
  devices: "array",
  onReset: "string",
  onUnclaimed: "function",
  kvm: "string",
} as const;

const DEVICE_KEYS = {
  name: "string",
  port: "number",
  address: "number",
  length: "number",
  handlers: "object",
} as const;

/** The options with every default filled in. */
export interface CheckedOptions {
  readonly name: string;
  /** The name of its board. */
  readonly machine: string;
  /** Bytes. */
  readonly memory: number;
  readonly memoryBacking: "memfd" | "anonymous";
  readonly cpus: number;
  readonly kernel: string | Uint8Array;
  readonly loadAddress: number | undefined;
  readonly initrd: string | Uint8Array | undefined;
  readonly cmdline: string;
  readonly drives: readonly CheckedDrive[];
  readonly serialPorts: number;
  readonly rng: boolean;
  readonly devices: readonly DeviceOptions[];
  readonly ownDevices: readonly OwnDeviceSpec[];
  readonly onReset: "reset" | "exit";
  readonly onUnclaimed: VmOptions["onUnclaimed"];
  readonly kvm: string;
}

/** @throws {OptionError} that names the option, what was given and what would do. */
export function checkOptions(options: VmOptions): CheckedOptions {
  checkKeys("createVm", options, VM_KEYS);
  if (options.kernel === undefined) {
    throw new OptionError(
      "kernel: missing; give the path of a bzImage, a vmlinux, a Multiboot kernel or a flat binary",
    );
  }
  const machine = oneOf("machine", options.machine ?? "microvm", ["microvm"]);
  const memory = checkMemory(options.memory ?? "128M");
  const cpus = integer("cpus", options.cpus ?? 1, 1, MAX_CPUS);
  const drives = (options.drives ?? []).map((drive, index) => checkDrive(drive, index, cpus));
  const rng = options.rng ?? false;
  if (drives.length + (rng ? 1 : 0) > VIRTIO_IRQS.length) {
    throw new OptionError(
      `drives: ${drives.length}${rng ? " and an rng" : ""} are too many; this machine has room for ${VIRTIO_IRQS.length} virtio devices`,
    );
  }
  const devices = options.devices ?? [];
  return {
    name: options.name ?? "vm",
    machine,
    memory,
    memoryBacking: oneOf("memoryBacking", options.memoryBacking ?? "memfd", ["memfd", "anonymous"]),
    cpus,
    kernel: options.kernel,
    loadAddress:
      options.loadAddress === undefined ? undefined : integer("loadAddress", options.loadAddress, 0, MIB - 1),
    initrd: options.initrd,
    cmdline: options.cmdline ?? "",
    drives,
    serialPorts: integer("serialPorts", options.serialPorts ?? 1, 1, 4),
    rng,
    devices,
    ownDevices: devices.map((device, index) => checkDevice(device, index, memory)),
    onReset: oneOf("onReset", options.onReset ?? "reset", ["reset", "exit"]),
    onUnclaimed: options.onUnclaimed,
    kvm: options.kvm ?? "/dev/kvm",
  };
}

function checkMemory(memory: number | string): number {
  const bytes = typeof memory === "number" ? memory : parseSize(memory, "memory");
  if (!Number.isSafeInteger(bytes) || bytes < MIB || bytes > MAX_MEMORY) {
    throw new OptionError(`memory: ${describe(memory)} is out of range; give from 1M to 1T`);
  }
  if (bytes % 4096 !== 0) throw new OptionError(`memory: ${describe(memory)} is not a multiple of 4K`);
  return bytes;
}

function checkDevice(device: DeviceOptions, index: number, memory: number): OwnDeviceSpec {
  const where = `devices[${index}]`;
  checkKeys(where, device, DEVICE_KEYS);
  if ((device.port === undefined) === (device.address === undefined)) {
    throw new OptionError(`${where}: give either port or address`);
  }
  if (device.handlers === undefined)
    throw new OptionError(`${where}.handlers: missing; give { read, write }`);
  for (const key of ["read", "write"] as const) {
    const handler = device.handlers[key]; // may be inherited: a device can be a class
    if (handler !== undefined && typeof handler !== "function") {
      throw new OptionError(`${where}.handlers.${key}: ${describe(handler)} is not a function`);
    }
  }
  const name = device.name ?? where;
  if (device.port !== undefined) {
    const address = integer(`${where}.port`, device.port, 0, 0xffff);
    return {
      name,
      space: "ports",
      address,
      length: integer(`${where}.length`, device.length, 1, 0x10000 - address),
    };
  }
  const address = integer(`${where}.address`, device.address ?? 0, 0, 2 ** 46);
  const length = integer(`${where}.length`, device.length, 1, 2 ** 30);
  // The kernel answers there, and the device would never be asked.
  const taken = notDevices(memory).find((range) => address < range.end && range.start < address + length);
  if (taken !== undefined) {
    throw new OptionError(
      `${where}: ${length} bytes at 0x${address.toString(16)} are in the way of ${taken.what}, 0x${taken.start.toString(16)}-0x${(taken.end - 1).toString(16)}`,
    );
  }
  return { name, space: "memory", address, length };
}

/** Guest-physical memory that never exits to user space. */
function notDevices(memory: number): { what: string; start: number; end: number }[] {
  const ram = ramRegions(memory).map(({ address, size }) => ({
    what: "the guest's RAM",
    start: address,
    end: address + size,
  }));
  return [
    ...ram,
    { what: "the I/O APIC", start: IOAPIC, end: IOAPIC + 0x1000 },
    { what: "the local APICs", start: LOCAL_APIC, end: LOCAL_APIC + 0x1000 },
    { what: "pages of KVM's own", start: IDENTITY_MAP, end: IDENTITY_MAP + 0x4000 },
  ];
}
