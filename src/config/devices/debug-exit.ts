import { device, ID } from "../device-table.ts";
import { table } from "../schema.ts";
import { exactly } from "../value.ts";

/** QEMU has this device at 0x501 by default; a guest made for that port would wait for ever. */
const PLACE = "here this device is at port 0xf4: write isa-debug-exit,iobase=0xf4,iosize=0x04";

export const DEBUG_EXIT = device({
  kind: "debug-exit",
  names: ["isa-debug-exit"],
  help: "lets the guest end the machine with a status; always there, at port 0xf4",
  options: table({ id: ID }),
  deviceKeys: table({
    iobase: { type: exactly(0xf4, "0xf4"), required: PLACE, qemu: { device: ["iobase"] }, help: "the port" },
    iosize: { type: exactly(4, "0x04"), qemu: { device: ["iosize"] }, help: "its width in bytes" },
  }),
});
