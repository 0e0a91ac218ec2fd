/** `vmexit install-aliases DIR`: links by which the command answers as QEMU does. */
import {
  accessSync,
  chmodSync,
  constants,
  lstatSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { ALIASES } from "./alias.ts";
import { FAILED, OK, USAGE } from "./exit-status.ts";

const HELP = `Usage: vmexit install-aliases DIR

Makes links in DIR, which should be in PATH before QEMU's own folder:
${ALIASES.map(({ name }) => `  ${name}\n`).join("")}
Under these names, options, texts and exit statuses are those of QEMU. Remove a link to remove an alias.
`;

/** @param program the command itself */
export function installAliases(
  argv: readonly string[],
  program: string,
  out: Writable,
  err: Writable,
): number {
  const [dir, ...more] = argv;
  if (dir === "--help" || dir === "-h") {
    out.write(HELP);
    return OK;
  }
  if (dir === undefined || more.length > 0 || dir.startsWith("-")) {
    err.write(`vmexit install-aliases: give one folder\n${HELP}`);
    return USAGE;
  }
  const failed = (sentence: string) => {
    err.write(`vmexit install-aliases: ${sentence}\n`);
    return FAILED;
  };
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return failed(`${dir} is not a folder; make it first`);
  }
  const target = realpathSync(program);
  const links = ALIASES.map(({ name }) => join(dir, name));
  const taken = links.find((link) => isTaken(link, target));
  if (taken !== undefined) {
    return failed(`${taken} is there already, and is not an alias of this command; nothing was changed`);
  }
  try {
    makeExecutable(target);
    for (const link of links) {
      if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue;
      symlinkSync(target, link);
      out.write(`${link} -> ${target}\n`);
    }
  } catch (error) {
    return failed(error instanceof Error ? error.message : String(error));
  }
  return OK;
}

function isTaken(link: string, target: string): boolean {
  const there = lstatSync(link, { throwIfNoEntry: false });
  if (there === undefined) return false;
  return !there.isSymbolicLink() || readlinkSync(link) !== target;
}

/** A package manager makes it executable; a clone may not. */
function makeExecutable(file: string): void {
  try {
    accessSync(file, constants.X_OK);
  } catch {
    chmodSync(file, 0o755);
  }
}
