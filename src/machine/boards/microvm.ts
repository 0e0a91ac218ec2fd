/**
 * The microvm board: which part is at which address. It has no firmware and no
 * PCI: the guest finds the devices in ACPI tables.
 */
import { GENERATION_ID } from "../../boot/low-memory.ts";
import { ACPI_PM_PORTS } from "../../devices/acpi-pm.ts";
import { CMOS_PORTS } from "../../devices/cmos.ts";
import type { Board } from "../board.ts";
import type { LateParts } from "../late-parts.ts";
import * as map from "../memory-map.ts";
import { type Part, type Place, plug } from "../part.ts";
import { acpiPm } from "../parts/acpi-pm.ts";
import { cmos, cmosConfig } from "../parts/cmos.ts";
import { virtioBalloon } from "../parts/virtio-balloon.ts";
import { virtioBlk } from "../parts/virtio-blk.ts";
import { virtioMmio } from "../parts/virtio-mmio.ts";
import { virtioRng } from "../parts/virtio-rng.ts";
import type { MachineSpec } from "../spec.ts";
import { debugPorts, keyboardController, ownDevices, ports, serialPorts } from "./isa-parts.ts";

/** Parts that can be plugged in, besides those that every microvm has. */
const DEVICES: Readonly<Record<string, Part<object>>> = {
  "virtio-blk": virtioMmio(virtioBlk),
  "virtio-rng": virtioMmio(virtioRng),
  "virtio-balloon": virtioMmio(virtioBalloon),
};

/** Memory from which the guest reads the registers of its virtio devices: one page for each device. */
const REGISTERS = "virtio-registers";

export const microvm: Board = {
  name: "microvm",

  parts(spec, late) {
    return [
      ...serialPorts(spec),
      plug(cmos, "cmos", { windows: [ports(map.CMOS_PORT, CMOS_PORTS)] }, cmosConfig(spec)),
      keyboardController(),
      plug(acpiPm, "acpi-pm", { windows: [ports(map.ACPI_PM_PORT, ACPI_PM_PORTS)], gsi: map.SCI_IRQ }, {}),
      ...debugPorts(),
      ...spec.devices.map(({ kind, name, config }, n) => {
        return plug(partOf(kind, late), name, virtioPlace(n), config);
      }),
      ...ownDevices(spec),
    ];
  },

  memories: (spec) => (spec.devices.length === 0 ? {} : { [REGISTERS]: registerBytes(spec) }),

  generationId: { address: GENERATION_ID.address, irq: map.GENERATION_ID_IRQ },

  kernel(spec) {
    const size = registerBytes(spec);
    if (size === 0) return {};
    return { slots: [{ memory: REGISTERS, offset: 0, address: map.VIRTIO_MMIO, size, readOnly: true }] };
  },
};

function partOf(kind: string, late: LateParts | undefined): Part<object> {
  const type = late?.get(kind);
  const part = type === undefined ? DEVICES[kind] : "virtio" in type ? virtioMmio(type.virtio) : undefined;
  if (part === undefined) throw new RangeError(`a microvm has no place for a device "${kind}"`);
  return part;
}

function virtioPlace(n: number): Place {
  const address = map.VIRTIO_MMIO + n * map.VIRTIO_MMIO_STRIDE;
  return {
    windows: [{ space: "memory", address, length: map.VIRTIO_MMIO_STRIDE }],
    gsi: map.VIRTIO_IRQS[n],
  };
}

function registerBytes({ devices }: MachineSpec): number {
  return devices.length * map.VIRTIO_MMIO_STRIDE;
}
