/**
 * The microvm board: which part is at which address. It has no firmware and no
 * PCI: the guest finds the devices in ACPI tables.
 */
import { GENERATION_ID } from "../../boot/low-memory.ts";
import { ACPI_PM_PORTS } from "../../devices/acpi-pm.ts";
import { CMOS_PORTS } from "../../devices/cmos.ts";
import { DEBUG_CONSOLE_PORTS } from "../../devices/debug-console.ts";
import { DEBUG_EXIT_PORTS } from "../../devices/debug-exit.ts";
import { I8042_COMMAND, I8042_DATA } from "../../devices/i8042.ts";
import { POST_CODE_PORTS } from "../../devices/post-code.ts";
import { UART16550_PORTS } from "../../devices/uart16550.ts";
import type { Board } from "../board.ts";
import type { LateParts } from "../late-parts.ts";
import * as map from "../memory-map.ts";
import { type Part, type Place, plug, type WindowPlace } from "../part.ts";
import { acpiPm } from "../parts/acpi-pm.ts";
import { cmos, cmosConfig } from "../parts/cmos.ts";
import { debugConsole } from "../parts/debug-console.ts";
import { debugExit } from "../parts/debug-exit.ts";
import { i8042 } from "../parts/i8042.ts";
import { ownDevice } from "../parts/own-device.ts";
import { postCode } from "../parts/post-code.ts";
import { serialPort } from "../parts/serial-port.ts";
import { virtioBalloon } from "../parts/virtio-balloon.ts";
import { virtioBlk } from "../parts/virtio-blk.ts";
import { virtioMmio } from "../parts/virtio-mmio.ts";
import { virtioRng } from "../parts/virtio-rng.ts";
import type { MachineSpec } from "../spec.ts";

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
      ...map.SERIAL.slice(0, spec.serialPorts).map(({ name, port, irq }) => {
        return plug(serialPort, name, { windows: [ports(port, UART16550_PORTS)], gsi: irq }, {});
      }),
      plug(cmos, "cmos", { windows: [ports(map.CMOS_PORT, CMOS_PORTS)] }, cmosConfig(spec)),
      plug(
        i8042,
        "i8042",
        {
          windows: [
            ports(map.I8042_DATA_PORT, 1, I8042_DATA),
            ports(map.I8042_COMMAND_PORT, 1, I8042_COMMAND),
          ],
          gsi: map.I8042_IRQ,
        },
        {},
      ),
      plug(acpiPm, "acpi-pm", { windows: [ports(map.ACPI_PM_PORT, ACPI_PM_PORTS)], gsi: map.SCI_IRQ }, {}),
      plug(postCode, "post-code", { windows: [ports(map.POST_CODE_PORT, POST_CODE_PORTS)] }, {}),
      plug(
        debugConsole,
        "debug-console",
        { windows: map.DEBUG_CONSOLE_PORTS.map((port) => ports(port, DEBUG_CONSOLE_PORTS)) },
        {},
      ),
      plug(debugExit, "debug-exit", { windows: [ports(map.DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS)] }, {}),
      ...spec.devices.map(({ kind, name, config }, n) => {
        return plug(partOf(kind, late), name, virtioPlace(n), config);
      }),
      // Last, so that a device of the program does not move any other part.
      ...spec.own.map(({ name, space, address, length }, index) => {
        return plug(ownDevice, name, { windows: [{ space, address, length }] }, { index });
      }),
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

function ports(address: number, length: number, offset = 0): WindowPlace {
  return { space: "ports", address, length, offset };
}

function partOf(kind: string, late: LateParts | undefined): Part<object> {
  const type = late?.get(kind);
  const part = type === undefined ? DEVICES[kind] : virtioMmio(type);
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
