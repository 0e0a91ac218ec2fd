/** The last words where the program itself is wrong: one line, and never its own source. */
import { writeSync } from "node:fs";
import { FAILED, OUTPUT_CLOSED } from "./exit-status.ts";

/** From now on, what nobody catches ends the process with a line that says where to report it. */
export function catchInternalErrors(): void {
  process.on("uncaughtException", (error: unknown) => {
    // Whoever reads the output has left: not an error of the program's.
    if (error instanceof Error && "code" in error && error.code === "EPIPE") process.exit(OUTPUT_CLOSED);
    try {
      writeSync(2, internalErrorText(error));
    } catch {
      // Nobody reads standard error either.
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
