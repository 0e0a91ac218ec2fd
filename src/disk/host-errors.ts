/**
 * What becomes of a request that the host failed: the drive's policy decides, and the
 * machine's user gets a report of the 1st, 2nd, 4th, 8th ... such error, so that a failing
 * disk does not flood its user with reports.
 */
import { ENOSPC } from "../base/errno.ts";
import { isPowerOfTwo } from "../base/power-of-two.ts";
import { hostError } from "./backend.ts";

/**
 * As with QEMU's rerror and werror. report: the guest sees an I/O error. ignore: it
 * sees success. stop: the machine pauses, and tries again when it is resumed. enospc:
 * stop if the host has no room, else report.
 */
export type ErrorPolicy = "report" | "ignore" | "stop" | "enospc";
/** stop: the request is kept, to be tried again. */
export type ErrorOutcome = "report" | "ignore" | "stop";

export interface HostErrorParts {
  readonly name: string;
  readonly report: (report: {
    readonly device: string;
    readonly code: "EIO" | "ESTOP";
    readonly message: string;
  }) => void;
  readonly rerror: ErrorPolicy;
  readonly werror: ErrorPolicy;
}

export class HostErrors {
  /** Requests wait until the machine is resumed. */
  stopped = false;
  readonly #parts: HostErrorParts;
  #count = 0;

  constructor(parts: HostErrorParts) {
    this.#parts = parts;
  }

  /**
   * @param doing "reading", "flushing" and so on; only "reading" follows rerror
   * @param failure -errno
   * @param length bytes; 0 for a request that has no place on the disk
   */
  decide(doing: string, failure: number, offset: number, length: number): ErrorOutcome {
    const { rerror, werror } = this.#parts;
    const policy = doing === "reading" ? rerror : werror;
    const outcome = policy === "enospc" ? (failure === ENOSPC ? "stop" : "report") : policy;
    this.#report(doing, failure, offset, length, outcome);
    if (outcome === "stop") this.stopped = true;
    return outcome;
  }

  #report(doing: string, failure: number, offset: number, length: number, outcome: ErrorOutcome): void {
    const count = ++this.#count;
    // A stop is reported once, for all requests that were in flight.
    if (outcome === "stop" ? this.stopped : !isPowerOfTwo(count)) return;
    const { name, report } = this.#parts;
    const where = length === 0 ? "" : ` ${length} bytes at ${offset}`;
    const before = count === 1 ? "" : ` (${count} such errors so far)`;
    const meaning =
      outcome === "stop"
        ? "The machine pauses, and tries the request again when it is resumed"
        : `The guest ${outcome === "ignore" ? "sees no error" : "sees an I/O error"}`;
    report({
      device: name,
      code: outcome === "stop" ? "ESTOP" : "EIO",
      message: `${doing}${where} failed: ${hostError(failure)}. ${meaning}${before}.`,
    });
  }
}
