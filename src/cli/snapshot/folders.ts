/** `vmexit snapshot list`, `show`, `delete` and `verify`: snapshots that are folders. */
import { resolve } from "node:path";
import { didYouMean, OptionError } from "../../base/errors.ts";
import { PAGE } from "../../base/units.ts";
import { verifySnapshot } from "../../state/open-snapshot.ts";
import { SnapshotError } from "../../state/snapshot-error.ts";
import {
  deleteSnapshot,
  describeSnapshot,
  type StoredSnapshot,
  snapshotsIn,
} from "../../state/stored-snapshot.ts";
import { FIRMWARE_PROTOCOL } from "../../vm/power-on.ts";
import { FAILED, OK } from "../exit-status.ts";
import { sizeText } from "../img/sizes.ts";
import { localTime } from "../local-time.ts";
import type { PlaceDeps } from "../run/consoles.ts";

type Output = Pick<PlaceDeps, "stdout" | "stderr">;

/** One that cannot be used is a line on standard error, and the others are listed. */
export function listCommand(argv: readonly string[], { stdout, stderr }: Output): number {
  const { operands, json } = words(argv, ["json"]);
  if (operands.length > 1) throw new OptionError(`"${operands[1]}": only one folder is listed`);
  const [folder = "."] = operands;
  let failed = false;
  const found = snapshotsIn(folder).flatMap((path) => {
    try {
      return [describeSnapshot(path)];
    } catch (error) {
      if (!(error instanceof SnapshotError)) throw error;
      stderr.write(`vmexit snapshot list: ${error.message}\n`);
      failed = true;
      return [];
    }
  });
  if (json) stdout.write(jsonText(found.map(facts)));
  else if (found.length > 0) stdout.write(table(found));
  return failed ? FAILED : OK;
}

export function showCommand(argv: readonly string[], { stdout }: Output): number {
  const { operands, json } = words(argv, ["json"]);
  if (operands.length !== 1) throw new OptionError("give one snapshot, as in vmexit snapshot show booted");
  const snapshot = describeSnapshot(operands[0]);
  stdout.write(json ? jsonText({ ...facts(snapshot), machine: snapshot.manifest }) : description(snapshot));
  return OK;
}

export function deleteCommand(argv: readonly string[], output: Output): Promise<number> {
  const also = new Set(argv.map((path) => resolve(path)));
  return eachOf("delete", argv, output, (path) => deleteSnapshot(path, also));
}

export function verifyCommand(argv: readonly string[], output: Output): Promise<number> {
  return eachOf("verify", argv, output, async (path) => {
    await verifySnapshot(path);
    output.stdout.write(`${path}: no errors were found\n`);
  });
}

/** A failure of one is printed, and the others have their turn. Any other error is a bug, and is thrown. */
async function eachOf(
  command: string,
  argv: readonly string[],
  { stderr }: Output,
  work: (path: string) => void | Promise<void>,
): Promise<number> {
  let failed = false;
  for (const path of several(command, argv)) {
    try {
      await work(path);
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      stderr.write(`vmexit snapshot ${command}: ${error.message}\n`);
      failed = true;
    }
  }
  return failed ? FAILED : OK;
}

function several(command: string, argv: readonly string[]): readonly string[] {
  const { operands } = words(argv, []);
  if (operands.length === 0) {
    throw new OptionError(`the snapshot is missing, as in vmexit snapshot ${command} booted`);
  }
  return operands;
}

function words(argv: readonly string[], flags: readonly string[]): { operands: string[]; json: boolean } {
  const operands: string[] = [];
  let json = false;
  for (const word of argv) {
    const [, flag] = /^--?(.+)$/.exec(word) ?? [];
    if (flag === undefined) operands.push(word);
    else if (flags.includes(flag)) json = true;
    else throw new OptionError(`${word}: unknown option${didYouMean(flag, flags, "-")}`);
  }
  return { operands, json };
}

function facts({ path, manifest, bytes }: StoredSnapshot): object {
  const { name, time, vmexit, ram, parent } = manifest;
  return { path, name, time, vmexit, parent: parent?.name, memory: ram.size, cpus: cpusOf(manifest), bytes };
}

const HEAD = ["SNAPSHOT", "MACHINE", "MEMORY", "CPUS", "ON DISK", "SAVED"];

function table(snapshots: readonly StoredSnapshot[]): string {
  const rows = snapshots.map(({ path, manifest, bytes }) => [
    path.replace(/^\.\//, ""),
    manifest.name,
    sizeText(manifest.ram.size),
    cpusOf(manifest),
    sizeText(bytes),
    savedAt(manifest),
  ]);
  const widths = HEAD.map((_, n) => Math.max(...[HEAD, ...rows].map((row) => row[n].length)));
  const line = (row: readonly string[]) =>
    row
      .map((word, n) => word.padEnd(widths[n]))
      .join("  ")
      .trimEnd();
  return `${[HEAD, ...rows].map(line).join("\n")}\n`;
}

function startedBy(protocol: string): string {
  return protocol === FIRMWARE_PROTOCOL
    ? "started by its firmware"
    : `whose kernel was started as ${protocol}`;
}

function description({ path, manifest, bytes }: StoredSnapshot): string {
  const { name, vmexit, protocol, ram, drives, options, parent } = manifest;
  const inIt = parent === undefined ? "are not zeros" : "were written since";
  const rows: [string, string][] = [
    ["snapshot", path],
    ["machine", `${name}, a ${shown(options.machine)} ${startedBy(protocol)}`],
    ["saved", `${savedAt(manifest)} by vmexit ${vmexit}`],
    ...(parent === undefined ? [] : [["continues", `${parent.name}, beside it`] satisfies [string, string]]),
    ["memory", `${sizeText(ram.size)}, of which ${sizeText(PAGE * ram.pages)} ${inIt}`],
    ["CPUs", cpusOf(manifest)],
    ["on disk", sizeText(bytes)],
    ...drives.map(({ name: drive, file, overlay }): [string, string] => {
      const where = file?.path ?? "a disk of the program's own, or of a server";
      return [drive, overlay ? `${where}; what the guest wrote is in the snapshot (snapshot=on)` : where];
    }),
  ];
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `${left.padEnd(width)}  ${right}\n`).join("");
}

function cpusOf({ options }: StoredSnapshot["manifest"]): string {
  return shown(options.cpus);
}

function shown(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "?";
}

function savedAt({ time }: StoredSnapshot["manifest"]): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : localTime(date);
}

function jsonText(value: object): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
