/** Checks the options of createVm: first each option by its table row, then what depends on several of them. */
import { OptionError } from "../base/errors.ts";
import { type Configs, checkDevices, listDevices } from "../config/device-table.ts";
import { DEVICES } from "../config/devices.ts";
import { MACHINE, type VmOptions } from "../config/machine.ts";
import { type Filled, fill } from "../config/schema.ts";
import { quoted } from "../config/value.ts";
import { IDENTITY_MAP, IOAPIC, LOCAL_APIC, ramRegions, VIRTIO_IRQS } from "../machine/memory-map.ts";
import type { OwnDeviceSpec } from "../machine/spec.ts";

type Filling = Filled<typeof MACHINE>;

/** The options with every default filled in. */
export interface CheckedOptions extends Omit<Filling, keyof typeof DEVICES>, Configs<typeof DEVICES> {
  /** `devices` in the form of the machine's spec: where the program's own devices are. */
  readonly ownDevices: readonly OwnDeviceSpec[];
}

/** @throws {OptionError} that names the option, the given value and the possible ones. */
export function checkOptions(options: VmOptions | Readonly<Record<string, unknown>>): CheckedOptions {
  const filled = fill(MACHINE, options, "");
  const configs = checkDevices(DEVICES, filled, filled.cpus);
  const count = listDevices(DEVICES, configs).length;
  if (count > VIRTIO_IRQS.length) {
    throw new OptionError(
      `createVm: ${count} virtio devices (drives and others) are too many; this machine has room for ${VIRTIO_IRQS.length}`,
    );
  }
  const ownDevices = filled.devices.map((device, index) => checkPlace(device, index, filled.memory));
  return { ...filled, ...configs, ownDevices };
}

function checkPlace(device: Filling["devices"][number], index: number, memory: number): OwnDeviceSpec {
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
    return { name, space: "ports", address: port, length };
  }
  const start = address ?? 0;
  // The kernel answers these ports: the device would never get an access.
  const taken = notDevices(memory).find((range) => start < range.end && range.start < start + length);
  if (taken !== undefined) {
    throw new OptionError(
      `${where}: ${length} bytes at 0x${start.toString(16)} overlap ${taken.what}, 0x${taken.start.toString(16)}-0x${(taken.end - 1).toString(16)}`,
    );
  }
  return { name, space: "memory", address: start, length };
}

/** Guest-physical memory whose accesses never exit to user space. */
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
    { what: "pages that KVM uses", start: IDENTITY_MAP, end: IDENTITY_MAP + 0x4000 },
  ];
}
