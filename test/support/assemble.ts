/** Machines without KVM, for tests: assembled as a thread does it, plugged into whatever a test makes. */

import { Arena } from "../../src/base/arena.ts";
import { Generation } from "../../src/base/generation.ts";
import { MAX_WINDOWS } from "../../src/bus/address-space.ts";
import { addressMap, addressMapText } from "../../src/machine/address-map.ts";
import type { Board } from "../../src/machine/board.ts";
import { Machine, STATE_BYTES } from "../../src/machine/machine.ts";
import { ramRegions } from "../../src/machine/memory-map.ts";
import type { Ports } from "../../src/machine/ports.ts";
import type { MachineSpec } from "../../src/machine/spec.ts";
import { unplugged } from "../../src/machine/unplugged.ts";

/** One CPU, 16 MiB, one serial port, nothing plugged in. */
export const SMALLEST: MachineSpec = {
  board: "microvm",
  cpus: 1,
  ram: ramRegions(2 ** 24),
  serialPorts: 1,
  pit: true,
  devices: [],
  own: [],
};

export function assemble(
  board: Board,
  more: Partial<MachineSpec> = {},
  ports: Partial<Ports> = {},
  buffer = new SharedArrayBuffer(STATE_BYTES),
  generation = new Generation(new Int32Array(new SharedArrayBuffer(4))),
) {
  const arena = new Arena(buffer);
  const counts = { ports: new Float64Array(MAX_WINDOWS + 1), memory: new Float64Array(MAX_WINDOWS + 1) };
  const spec = { ...SMALLEST, ...more };
  const machine = new Machine(board, spec, arena, { ...unplugged, ...ports }, counts, generation);
  return {
    machine,
    arena,
    buffer,
    generation,
    ports: machine.ports,
    memory: machine.memory,
    map: addressMapText(addressMap(machine.ports, machine.memory, [])),
  };
}
