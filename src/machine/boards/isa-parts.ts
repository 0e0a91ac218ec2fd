/** Parts that both boards have, at a PC's ISA ports: one list for each place where a board has them together. */
import { DEBUG_CONSOLE_PORTS } from "../../devices/debug-console.ts";
import { DEBUG_EXIT_PORTS } from "../../devices/debug-exit.ts";
import { I8042_COMMAND, I8042_DATA } from "../../devices/i8042.ts";
import { POST_CODE_PORTS } from "../../devices/post-code.ts";
import { UART16550_PORTS } from "../../devices/uart16550.ts";
import * as map from "../memory-map.ts";
import { type Plug, plug, type WindowPlace } from "../part.ts";
import { debugConsole } from "../parts/debug-console.ts";
import { debugExit } from "../parts/debug-exit.ts";
import { i8042 } from "../parts/i8042.ts";
import { ownDevice } from "../parts/own-device.ts";
import { postCode } from "../parts/post-code.ts";
import { serialPort } from "../parts/serial-port.ts";
import type { MachineSpec } from "../spec.ts";

export function ports(address: number, length: number, offset = 0): WindowPlace {
  return { space: "ports", address, length, offset };
}

export function serialPorts(spec: MachineSpec): Plug[] {
  return map.SERIAL.slice(0, spec.serialPorts).map(({ name, port, irq }) => {
    return plug(serialPort, name, { windows: [ports(port, UART16550_PORTS)], gsi: irq }, {});
  });
}

export function keyboardController(): Plug {
  const windows = [
    ports(map.I8042_DATA_PORT, 1, I8042_DATA),
    ports(map.I8042_COMMAND_PORT, 1, I8042_COMMAND),
  ] as const;
  return plug(i8042, "i8042", { windows, gsi: map.I8042_IRQ }, {});
}

export function debugPorts(): Plug[] {
  const consoles = map.DEBUG_CONSOLE_PORTS.map((port) => ports(port, DEBUG_CONSOLE_PORTS));
  return [
    plug(postCode, "post-code", { windows: [ports(map.POST_CODE_PORT, POST_CODE_PORTS)] }, {}),
    plug(debugConsole, "debug-console", { windows: consoles }, {}),
    plug(debugExit, "debug-exit", { windows: [ports(map.DEBUG_EXIT_PORT, DEBUG_EXIT_PORTS)] }, {}),
  ];
}

/** Devices of the program. A board has them last, so that they do not move any other part. */
export function ownDevices({ own }: MachineSpec): Plug[] {
  return own.map(({ name, space, address, length }, index) => {
    return plug(ownDevice, name, { windows: [{ space, address, length }] }, { index });
  });
}
