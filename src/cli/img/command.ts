/** What a sub-command of `vmexit img` is. */
import { UsageError } from "./img-error.ts";
import type { OptionTable } from "./options.ts";

/** A stream that takes text, also of names that are not UTF-8. */
export interface TextOutput {
  write(text: string): void;
}

/** Where a sub-command prints. */
export interface ImgOutput {
  readonly stdout: TextOutput;
  readonly stderr: TextOutput;
  /** Calls `listener` when the command is asked to end. Undefined: it never is. */
  readonly onSignal?: (listener: () => void) => void;
}

export interface ImgCommand {
  readonly name: string;
  /** Its operands, as in "FILE [SIZE]". */
  readonly operands: string;
  /** A sentence without subject and period: "creates an image". */
  readonly help: string;
  readonly options: OptionTable;
  /** Returns the exit status; a promise of it where the command waits. @throws {ImgError} */
  run(argv: readonly string[], output: ImgOutput): number | Promise<number>;
}

/** @throws {UsageError} unless there is exactly one operand. */
export function oneFile(operands: readonly string[]): string {
  if (operands.length !== 1) throw new UsageError("Expecting one image file name");
  return operands[0];
}
