/**
 * The VM generation ID: a GUID in guest memory that is another one in each machine
 * that continues from a snapshot, and in each fork. A guest that is notified of it
 * knows that it is a copy: Linux (5.18 and later) reseeds its random numbers.
 *
 * Source: Microsoft, "Virtual Machine Generation ID" (2012); QEMU,
 * docs/specs/vmgenid.txt; Linux drivers/virt/vmgenid.c. The notification is an edge
 * of an input of the I/O APIC, which the generic event device of the DSDT serves.
 */
import { closeSync, openSync, readSync } from "node:fs";
import type { BoardGenerationId } from "../machine/board.ts";
import type { Machine } from "../machine/machine.ts";
import type { Hardware } from "./hardware.ts";

type Whose = Pick<Machine, "board" | "spec">;

/** Undefined for a machine that has none. */
export function generationIdPlace({ board, spec }: Whose): BoardGenerationId | undefined {
  return spec.generationId ? board.generationId : undefined;
}

/** Of a machine that has not run. */
export function setGenerationId({ memory, memories }: Hardware, machine: Whose): void {
  const place = generationIdPlace(machine);
  if (place === undefined) return;
  const id = randomBytes(GUID_BYTES);
  if (place.memory === undefined) {
    memory.write(place.address, id);
    return;
  }
  const { name, offset } = place.memory;
  const own = memories.get(name);
  if (own === undefined) throw new RangeError(`the machine has no memory "${name}"`);
  new Uint8Array(own.map(0, own.size)).set(id, offset);
}

/** Of a machine whose state was loaded: its guest is notified as soon as it continues. */
export function changeGenerationId(hardware: Hardware, machine: Whose): void {
  const place = generationIdPlace(machine);
  if (place === undefined) return;
  setGenerationId(hardware, machine);
  hardware.vm.irqLine(place.irq, true);
  hardware.vm.irqLine(place.irq, false);
}

const GUID_BYTES = 16;

/** Not by Node's crypto, which takes ten milliseconds to load. */
function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const file = openSync("/dev/urandom", "r");
  try {
    if (readSync(file, bytes) !== length) throw new RangeError(`/dev/urandom gave less than ${length} bytes`);
    return bytes;
  } finally {
    closeSync(file);
  }
}
