/** What a machine emits. */
import type { DebugStop, Ending } from "../threads/shared.ts";
import type { VmError } from "./vm-error.ts";

export interface VmEvents {
  started: [];
  paused: [];
  resumed: [];
  /** A CPU stopped where `setDebug` told it to, and the machine is paused. A second CPU may follow. */
  debug: [DebugStop];
  /** The machine was reset, by the guest or by reset(), and runs again. */
  reset: [];
  exited: [Ending];
  /** Only emitted if somebody listens: a guest must not be able to end the program. */
  error: [VmError];
  /** Nothing is wrong, but not as it was asked for: in a sentence, once. */
  note: [string];
}
