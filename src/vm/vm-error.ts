/** What calls of a machine throw, and what it reports. */

/** A call that makes no sense in the machine's present state. */
export class StateError extends Error {
  override readonly name = "StateError";
  readonly code = "ESTATE";
}

/** A drive could not be changed. */
export class DriveError extends Error {
  override readonly name = "DriveError";
  /**
   * EIMAGE: the image does not allow it. ESTATE: the machine has ended. EBUSY: the guest has locked the
   * drive. ENOTSUP: it has no other medium. Or a code of the host: ENOSPC, EIO …
   */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Something went wrong in or below a machine that goes on all the same, or that just crashed. */
export class VmError extends Error {
  override readonly name = "VmError";
  /**
   * EQUEUE: a driver broke a virtqueue. EIO: the host failed a request. ESTOP: the
   * same, and the machine pauses. EPANIC: the guest's kernel panicked. ECRASH.
   */
  readonly code: string;
  /** The device concerned, or "vm". */
  readonly device: string;

  constructor(code: string, device: string, message: string) {
    super(message);
    this.code = code;
    this.device = device;
  }
}
