import type { Writable } from "node:stream";

/** Where a trace command prints. */
export interface TraceOutput {
  readonly stdout: Writable;
  readonly stderr: Writable;
}
