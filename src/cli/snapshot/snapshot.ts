/** `vmexit snapshot`: saves machines, and works on the folders in which they are. */
import { didYouMean, OptionError } from "../../base/errors.ts";
import { FAILED, OK, type Outcome, USAGE } from "../exit-status.ts";
import { helpLines } from "../help-lines.ts";
import type { RunDeps } from "../run/run.ts";
import { deleteCommand, listCommand, showCommand, verifyCommand } from "./folders.ts";
import { saveCommand } from "./save.ts";

interface SnapshotCommand {
  readonly name: string;
  readonly operands: string;
  readonly help: string;
  run(argv: readonly string[], deps: RunDeps): Outcome | Promise<Outcome>;
}

const COMMANDS: readonly SnapshotCommand[] = [
  {
    name: "save",
    operands: "DIR|disk:NAME -until TEXT [-timeout SECONDS] RUN-OPTION…",
    help: "starts a machine as vmexit run does, saves it when its console shows TEXT, and ends. A machine that runs is saved by Ctrl-A s in its console, or by its program",
    run: saveCommand,
  },
  {
    name: "list",
    operands: "[-json] [FOLDER]",
    help: "lists the snapshots in a folder (default: this one)",
    run: listCommand,
  },
  { name: "show", operands: "[-json] DIR", help: "says which machine a snapshot is of", run: showCommand },
  { name: "delete", operands: "DIR…", help: "deletes snapshots, and no other folder", run: deleteCommand },
  {
    name: "verify",
    operands: "DIR…",
    help: "reads all of each snapshot and compares it with its checksums",
    run: verifyCommand,
  },
];

/** Never throws: a failure is printed and becomes an exit status. */
export async function snapshotCommand([word, ...argv]: readonly string[], deps: RunDeps): Promise<Outcome> {
  const { stdout, stderr } = deps;
  if (word === undefined) {
    stderr.write(help());
    return USAGE;
  }
  if (isHelp(word)) {
    stdout.write(help());
    return OK;
  }
  const command = COMMANDS.find(({ name }) => name === word);
  if (command === undefined) {
    const names = COMMANDS.map(({ name }) => name);
    stderr.write(
      `vmexit snapshot: unknown command "${word}"${didYouMean(word, names)}; the commands are ${names.join(", ")}\n`,
    );
    return USAGE;
  }
  if (argv.some(isHelp)) {
    stdout.write(commandHelp(command));
    return OK;
  }
  try {
    return await command.run(argv, deps);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    stderr.write(`vmexit snapshot ${command.name}: ${error.message}\n`);
    return error instanceof OptionError ? USAGE : FAILED;
  }
}

function isHelp(word: string): boolean {
  return /^--?(help|h)$/.test(word);
}

function commandHelp({ name, operands, help }: SnapshotCommand): string {
  return `Usage: vmexit snapshot ${name} ${operands}\n\n${helpLines([["", help]], 0, 0).join("\n")}\n`;
}

function help(): string {
  const rows = COMMANDS.map(({ name, operands, help }) => [`${name} ${operands}`, help] as const);
  return `Usage: vmexit snapshot COMMAND …

A snapshot is a machine in a folder, which vmexit run -loadvm DIR continues.

${helpLines(rows, 2, 12).join("\n")}
`;
}
