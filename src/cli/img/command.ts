/** What a sub-command of `vmexit img` is, and how it says that something is wrong. */

/** A stream that takes text, also of names that are not UTF-8. */
export interface TextOutput {
  write(text: string): void;
}

/** Where a sub-command prints. */
export interface ImgOutput {
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
  /** Calls `listener` when somebody wants the command to end; without it, nobody does. */
  readonly onSignal?: (listener: () => void) => void;
}

/** What help shows of an option. */
export interface OptionHelp {
  /** Without dashes: a letter, a word, or both. */
  readonly names: readonly string[];
  /** The value's name; an option without one takes no value. */
  readonly argument?: string;
  readonly help: string;
}

export interface ImgCommand {
  readonly name: string;
  /** Its operands, as in "filename [size]". */
  readonly operands: string;
  readonly help: string;
  /** Rows for `--help`. */
  readonly options: readonly OptionHelp[];
  /** Returns the exit status; a promise of it where there is somebody to wait for. @throws {ImgError} */
  run(argv: readonly string[], output: ImgOutput): number | Promise<number>;
}

/** Printed as "vmexit img: MESSAGE"; the process ends with `status`. */
export class ImgError extends Error {
  override readonly name = "ImgError";
  readonly status: number;

  constructor(message: string, status = 1) {
    super(message);
    this.status = status;
  }
}

/** A command line that cannot be understood: the message ends with where to look. */
export function usageError(message: string): ImgError {
  return new ImgError(`${message}\nTry 'vmexit img --help' for more information`);
}

/** @throws {ImgError} unless there is exactly one operand. */
export function oneFile(operands: readonly string[]): string {
  if (operands.length !== 1) throw usageError("Expecting one image file name");
  return operands[0];
}
