/** The keyboard controller, only for its reset line. Not in ACPI, so that Linux does not probe for a keyboard. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { I8042, I8042State } from "../../devices/i8042.ts";
import type { Part } from "../part.ts";

export const i8042: Part<object> = {
  kind: "i8042",
  assemble(slot) {
    const line = slot.line();
    return { lock: slot.add(new ByteWide(new I8042(slot.take(I8042State), line, slot.ports.power))) };
  },
};
