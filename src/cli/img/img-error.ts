/** How a command of `vmexit img` says that something is wrong. */

/** Printed as "vmexit img: MESSAGE"; the process ends with `status`. */
export class ImgError extends Error {
  override readonly name: string = "ImgError";
  readonly status: number;

  constructor(message: string, status = 1) {
    super(message);
    this.status = status;
  }
}

/** A command line that cannot be understood: the message ends with where to find the command's options. */
export class UsageError extends ImgError {
  override readonly name: string = "UsageError";
}

/** The same of an option, which getopt(3) reports in the name of the sub-command. */
export class OptionUsageError extends UsageError {
  override readonly name = "OptionUsageError";
}
