/** A 16550A serial port, connected to the outlet of the same name. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { Uart16550, Uart16550State } from "../../devices/uart16550.ts";
import type { Part } from "../part.ts";

export const serialPort: Part<object> = {
  kind: "uart16550",
  assemble(slot) {
    const { name, ports } = slot;
    const chip = new Uart16550(slot.take(Uart16550State), slot.line(), ports.sink(name), ports.ready(name));
    return { lock: slot.add(new ByteWide(chip)), receive: (byte) => chip.receive(byte) };
  },
  describe: ({ windows: [{ address }], gsi = 0 }) => ({ serial: { port: address, irq: gsi } }),
};
