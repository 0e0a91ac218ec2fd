/** The port by which a test guest ends the machine with a status. */
import { DebugExit } from "../../devices/debug-exit.ts";
import type { Part } from "../part.ts";

export const debugExit: Part<object> = {
  kind: "debug-exit",
  assemble: (slot) => ({ lock: slot.add(new DebugExit(slot.ports.power)) }),
};
