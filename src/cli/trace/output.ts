import type { Writable } from "node:stream";

/** Where a command of `vmexit trace` prints. */
export interface TraceOutput {
  readonly stdout: Writable;
  readonly stderr: Writable;
}
