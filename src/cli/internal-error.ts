/** How the program reports its own errors: in one line, without source. */
import { writeSync } from "node:fs";
import { FAILED, OUTPUT_CLOSED } from "./exit-status.ts";

/** From now on, an error that is not caught ends the process with a line that asks to report it. */
export function catchInternalErrors(): void {
  process.on("uncaughtException", (error: unknown) => {
    // The reader of the output has closed it, which is not an error of the program.
    if (error instanceof Error && "code" in error && error.code === "EPIPE") process.exit(OUTPUT_CLOSED);
    try {
      writeSync(2, internalErrorText(error));
    } catch {
      // Standard error is closed too.
    }
    process.exit(FAILED);
  });
}

export function internalErrorText(error: unknown, withStack = process.env.VMEXIT_STACK === "1"): string {
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const text = `vmexit: internal error: ${firstLine(what)}. Please report this line and the command to the project's issue tracker; VMEXIT_STACK=1 adds where it happened.\n`;
  return withStack && error instanceof Error ? `${text}${error.stack}\n` : text;
}

function firstLine(text: string): string {
  const line = text.split("\n", 1)[0];
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}
