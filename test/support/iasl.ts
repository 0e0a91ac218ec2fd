/**
 * ACPI tables through Intel's compiler and disassembler, from the package
 * acpica-tools. A machine without it fails these tests; it does not skip them.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Disassembly {
  readonly source: string;
  /** The table that iasl makes from that source; warnings are errors. */
  readonly recompiled: Uint8Array;
}

export function disassemble(table: Uint8Array): Disassembly {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-acpi-"));
  try {
    writeFileSync(join(folder, "table.aml"), table);
    iasl(folder, "-d", "table.aml");
    const source = readFileSync(join(folder, "table.dsl"), "utf8");
    // -oa: encode names as they are written. 6035: an id does not end with hexadecimal digits, as QEMUVGID.
    iasl(folder, "-we", "-vw", "6035", "-oa", "-p", "again", "table.dsl");
    return { source, recompiled: readFileSync(join(folder, "again.aml")) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function iasl(folder: string, ...args: string[]): void {
  let output: string;
  try {
    output = execFileSync("iasl", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      throw new Error("iasl is missing: sudo apt-get install acpica-tools", { cause: error });
    }
    const text = error instanceof Error && "stdout" in error ? String(error.stdout) : "";
    throw new Error(`iasl ${args.join(" ")} failed:\n${text}`, { cause: error });
  }
  if (/\b(Warning|Error)\b(?!s?,)/.test(output.replace(/^.*Compilation successful.*$/m, ""))) {
    throw new Error(`iasl ${args.join(" ")}:\n${output}`);
  }
}
