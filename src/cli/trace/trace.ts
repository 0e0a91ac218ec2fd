/** `vmexit trace`: evaluates a trace file. */

import type { Writable } from "node:stream";
import { didYouMean } from "../../base/errors.ts";
import { OK, USAGE } from "../exit-status.ts";
import type { TraceOutput } from "./output.ts";

interface TraceCommand {
  readonly name: string;
  readonly help: string;
  run(argv: readonly string[], output: TraceOutput): Promise<number>;
}

const COMMANDS: readonly TraceCommand[] = [
  {
    name: "summary",
    help: "prints counts and times by reason and device, and the busiest ports and code",
    run: async (argv, output) => (await import("./summary.ts")).traceSummary(argv, output),
  },
  {
    name: "report",
    help: "draws the trace in one HTML file for a browser: -o report.html",
    run: async (argv, output) => (await import("./report.ts")).traceReport(argv, output),
  },
];

export async function traceCommand(
  argv: readonly string[],
  stdout: Writable,
  stderr: Writable,
): Promise<number> {
  const [word, ...rest] = argv;
  const command = COMMANDS.find(({ name }) => name === word);
  if (command !== undefined) return command.run(rest, { stdout, stderr });
  if (word !== undefined && /^--?h(elp)?$/.test(word)) {
    stdout.write(help());
    return OK;
  }
  const names = COMMANDS.map(({ name }) => name);
  stderr.write(
    word === undefined
      ? help()
      : `vmexit trace: unknown command "${word}"${didYouMean(word, names)}; the commands are ${names.join(" and ")}\n`,
  );
  return USAGE;
}

function help(): string {
  const lines = COMMANDS.map(({ name, help }) => `  ${name.padEnd(8)} ${help}\n`).join("");
  return `Usage: vmexit trace COMMAND FILE [OPTION]…

FILE is a trace that vmexit run -trace exits=FILE recorded.

${lines}`;
}
