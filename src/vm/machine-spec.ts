/** Makes the spec of a machine from checked options and the facts of its disks and networks. */
import { listDevices } from "../config/device-table.ts";
import { pciPlace } from "../config/devices/pci.ts";
import { DEVICES } from "../config/devices.ts";
import { HPET } from "../config/machine.ts";
import { ramRegions } from "../machine/memory-map.ts";
import type { DeviceSpec, MachineSpec } from "../machine/spec.ts";
import type { Drives } from "./drives.ts";
import type { Networks } from "./networks.ts";
import type { PowerOn } from "./power-on.ts";
import type { CheckedOptions } from "./validate.ts";

/** @throws {SystemError | ImageError} for an image that cannot be used */
export function machineSpec(
  options: CheckedOptions,
  drives: Drives,
  networks: Networks,
  start: PowerOn,
): MachineSpec {
  const firmware = start.firmware?.();
  const { userFilesBytes = 0 } = start;
  const all = drives.devices;
  const onScsi = all.filter(({ kind }) => kind.startsWith("scsi-"));
  return {
    board: options.machine,
    cpus: options.cpus,
    ...(isSingleSocket(options) ? {} : { topology: options.topology }),
    ram: ramRegions(options.memory),
    serialPorts: options.serialPorts,
    pit: options.pit,
    ...(options.generationId ? { generationId: true } : {}),
    ...(options.rtcOffset === 0 ? {} : { rtcOffsetMs: options.rtcOffset }),
    ...(options.rtcSlew ? { rtcSlew: true } : {}),
    devices: [
      ...all.filter((device) => !onScsi.includes(device)),
      ...listDevices(DEVICES, { ...options, drives: [], network: [] }).map((device) => {
        return withDrives(device, onScsi);
      }),
      ...networks.devices,
      ...(options.hpet ? [{ kind: HPET, name: HPET, config: {} }] : []),
    ].map(placed),
    own: options.ownDevices,
    ...(firmware === undefined ? {} : { firmware }),
    ...(userFilesBytes === 0 ? {} : { userFilesBytes }),
  };
}

function isSingleSocket({ cpus, topology }: CheckedOptions): boolean {
  const { sockets, dies, cores, threads } = topology;
  return sockets === 1 && dies === 1 && threads === 1 && cores === cpus;
}

/** A controller with the drives that are on it. */
function withDrives(device: DeviceSpec, onScsi: readonly DeviceSpec[]): DeviceSpec {
  if (device.kind !== "virtio-scsi") return device;
  const drives = onScsi.filter(({ place }) => place?.bus === device.name);
  return { ...device, config: { ...device.config, drives } };
}

/** With the place on the PCI bus that its options ask for. */
function placed(device: DeviceSpec): DeviceSpec {
  const address: unknown = Reflect.get(device.config, "addr");
  return typeof address === "string"
    ? { ...device, place: { ...device.place, ...pciPlace(address) } }
    : device;
}
