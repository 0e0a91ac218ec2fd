/** The one-port console of Bochs and QEMU. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { DebugConsole } from "../../devices/debug-console.ts";
import type { Part } from "../part.ts";

export const debugConsole: Part<object> = {
  kind: "debug-console",
  assemble: (slot) => ({ lock: slot.add(new ByteWide(new DebugConsole(slot.ports.sink(slot.name)))) }),
};
