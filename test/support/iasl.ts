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
    // -oa: encode names as they are written. 6035: an id does not end with hexadecimal digits, as QEMUVGID. 3168:
    // processors are described as in ACPI 1.0, which every system understands; QEMU does the same.
    iasl(folder, "-we", "-vw", "6035", "-vw", "3168", "-oa", "-p", "again", "table.dsl");
    return { source, recompiled: readFileSync(join(folder, "again.aml")) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The fields of a table by name: of a DSDT the devices with their ids and what they have, of others those that iasl prints. */
export function fieldsOf(table: Uint8Array): Map<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-acpi-"));
  try {
    writeFileSync(join(folder, "table.aml"), table);
    iasl(folder, "-d", "table.aml");
    const source = readFileSync(join(folder, "table.dsl"), "utf8");
    const signature = Buffer.from(table.subarray(0, 4)).toString();
    if (signature === "DSDT") return devicesIn(source);
    if (signature !== "APIC") return linesIn(source);
    const header = [...linesIn(source)].slice(0, 11); // up to the flags of the table
    return new Map([...header, ...structuresOf(table)]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function linesIn(source: string): Map<string, string> {
  const fields = new Map<string, string>();
  // What follows from the rest.
  const isDerived = (name: string) => /^(Checksum|Table Length|ACPI Table Address.*)$/.test(name);
  const seen = new Map<string, number>();
  for (const [, name, value] of source.matchAll(/^\s*\[[^\]]+\]\s*(\S.*?) : (.*)$/gm)) {
    if (isDerived(name)) continue;
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    fields.set(count === 1 ? name : `${name} ${count}`, value.replace(/\s+/g, " ").trim());
  }
  return fields;
}

/** Of each device with an id: its resources, and the names in it. */
function devicesIn(source: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const match of source.matchAll(/^( *)(Device|Processor) \((\w+)[^)]*\)( \{\}|)$/gm)) {
    const [, indent, kind, path, empty] = match;
    const body = empty === "" ? source.slice(match.index, source.indexOf(`\n${indent}}`, match.index)) : "";
    const names = [...body.matchAll(new RegExp(`^${indent}    (?:Name|Method) \\((\\w+)`, "gm"))].map(
      ([, name]) => name,
    );
    const hid = new RegExp(`^${indent}    Name \\(_HID, (?:EisaId \\()?"?(\\w+)`, "m").exec(body)?.[1];
    const id = kind === "Processor" ? `processor ${path}` : hid;
    if (id === undefined) continue;
    let key = id;
    for (let n = 2; fields.has(key); n++) key = `${id} ${n}`;
    fields.set(key, names.sort().join(" ") || "without names");
    const resources = new RegExp(
      `^${indent}    Name \\(_CRS, ResourceTemplate \\(\\)[^{]*\\{([\\s\\S]*?)\\}\\)$`,
      "m",
    ).exec(body)?.[1];
    if (resources === undefined) continue;
    const plain = resources
      .replace(/\/\/.*$/gm, "")
      .replace(/\s+/g, " ")
      .trim();
    fields.set(`${key} _CRS`, plain);
  }
  return fields;
}

/** Each interrupt controller structure of a MADT, as bytes: ACPI 6.4, 5.2.12. */
function structuresOf(madt: Uint8Array): Map<string, string> {
  const fields = new Map<string, string>();
  for (let at = 44; at + 2 <= madt.length && madt[at + 1] >= 2; at += madt[at + 1])
    fields.set(`structure ${Buffer.from(madt.subarray(at, at + madt[at + 1])).toString("hex")}`, "present");
  return fields;
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
