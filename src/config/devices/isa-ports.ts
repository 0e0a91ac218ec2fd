/**
 * `-device isa-serial` and `isa-debugcon`: the serial ports and the debug console, which every machine has.
 *
 * Source: QEMU 11.1, the properties that `-device isa-serial,help` and `-device isa-debugcon,help` list.
 */
import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { integer, text, typed } from "../value.ts";

const BASES = [0x3f8, 0x2f8, 0x3e8, 0x2e8];
export const SERIAL_IRQS = [4, 3, 4, 3] as const;
const DEBUG_BASES = [0xe9, 0x402];

const chardev = {
  type: text("ID"),
  required: "the back end is missing: chardev=ID, the id of a -chardev",
  qemu: { device: ["chardev"] },
  help: "the id of the -chardev",
} as const;

export const ISA_SERIAL_KEYS = table({
  chardev,
  index: {
    type: integer(0, BASES.length - 1),
    otherwise: "the next free one",
    qemu: { device: ["index"] },
    help: "0 is COM1",
  },
  base: {
    type: typed("PORT", (word, refuse) => {
      const index = BASES.indexOf(Number(word));
      if (index >= 0) return index;
      throw refuse(`"${word}" is not possible: COM1 to COM4 are at 0x3f8, 0x2f8, 0x3e8 and 0x2e8`);
    }),
    qemu: { device: ["iobase"] },
    help: "the same by its address",
  },
  irq: { type: integer(0, 15), qemu: { device: ["irq"] }, help: "accepted: 4 of COM1 and COM3, else 3" },
});

export const ISA_DEBUGCON_KEYS = table({
  chardev,
  base: {
    type: typed("PORT", (word, refuse) => {
      if (DEBUG_BASES.includes(Number(word))) return Number(word);
      throw refuse(`"${word}" is not possible: the debug console is at 0xe9 and 0x402`);
    }),
    qemu: { device: ["iobase"] },
    help: "accepted: 0xe9 and 0x402, as it is at both",
  },
});

export const ISA_SERIAL = device({
  kind: "isa-serial",
  names: ["isa-serial"],
  help: "connects a serial port",
  options: table({ id: ID }),
  deviceKeys: ISA_SERIAL_KEYS,
});

export const ISA_DEBUGCON = device({
  kind: "isa-debugcon",
  names: ["isa-debugcon"],
  help: "connects the debug console",
  options: table({ id: ID }),
  deviceKeys: ISA_DEBUGCON_KEYS,
});
