/** The subcommands, and the message for a name that none of them has. */
import { didYouMean } from "../base/errors.ts";
import { aliasOf } from "./alias.ts";
import { endProcess, onEndingSignal } from "./end-process.ts";
import { exactArguments, InexactArgument, wordThatIsNotText } from "./exact-arguments.ts";
import { exitStatusHelp, type Outcome, USAGE } from "./exit-status.ts";
import { catchInternalErrors } from "./internal-error.ts";
import { type RunDeps, run } from "./run/run.ts";

interface Command {
  readonly name: string;
  readonly help: string;
  run(argv: readonly string[]): Promise<Outcome>;
}

/** Made when it is used: to name standard input opens it. */
const runDeps = (): RunDeps => ({
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  createVm: async (options) => (await import("../vm/create-vm.ts")).createVm(options),
  restoreVm: async (dir, options) => (await import("../vm/restore-vm.ts")).restoreVm(dir, options),
  openPty: async () => (await import("../sys/pty.ts")).Pty.open(),
  onSignal: onEndingSignal,
});

const COMMANDS: readonly Command[] = [
  {
    name: "run",
    help: "starts a virtual machine; vmexit run --help lists the options",
    run: async (argv) => {
      return run(argv, runDeps());
    },
  },
  {
    name: "snapshot",
    help: "saves machines and works on their snapshots; see vmexit snapshot --help",
    run: async (argv) => (await import("./snapshot/snapshot.ts")).snapshotCommand(argv, runDeps()),
  },
  {
    name: "img",
    help: "works on disk images, as qemu-img does: create, info, check, convert …; see vmexit img --help",
    run: async (argv) => {
      const { imgCommand } = await import("./img/img.ts");
      return imgCommand(argv, process.stdout, process.stderr, onEndingSignal);
    },
  },
  {
    name: "probe",
    help: "checks whether this computer can run guests, and says what to change; --json for programs",
    run: async (argv) =>
      (await import("./probe/command.ts")).probeCommand(argv, process.stdout, process.stderr),
  },
  {
    name: "net",
    help: "makes bridges and tap interfaces for guests, and says why they have no network; see vmexit net --help",
    run: async (argv) => {
      const { netCommand } = await import("./net/net.ts");
      const { thisHost } = await import("./net/net-host.ts");
      return netCommand(argv, thisHost(), process.stdout, process.stderr);
    },
  },
  {
    name: "demo",
    help: "shows entries and exits of tiny guests; without a name, lists the demos",
    run: async (argv) => {
      const { demoCommand, packagedDemos } = await import("./demo/demo.ts");
      return demoCommand(argv, packagedDemos, process.stdout, process.stderr);
    },
  },
  {
    name: "trace",
    help: "evaluates a trace that run recorded; see vmexit trace --help",
    run: async (argv) =>
      (await import("./trace/trace.ts")).traceCommand(argv, process.stdout, process.stderr),
  },
  {
    name: "install-aliases",
    help: "makes links by which this command answers as qemu-system-x86_64, qemu-img and others",
    run: async (argv) => {
      const { installAliases } = await import("./install-aliases.ts");
      return installAliases(argv, process.argv[1], process.stdout, process.stderr);
    },
  },
  {
    name: "help",
    help: "prints this text, or the help of a command: vmexit help run",
    run: async ([topic]) => {
      if (topic !== undefined && topic !== "help") return dispatch([topic, "--help"]);
      process.stdout.write(help());
      return 0;
    },
  },
  {
    name: "version",
    help: "prints the version",
    run: async () => {
      const { packageVersion } = await import("./package.ts");
      process.stdout.write(`vmexit ${packageVersion()}\n`);
      return 0;
    },
  },
];

const SYNONYMS: ReadonlyMap<string, string> = new Map([
  ["-h", "help"],
  ["-help", "help"],
  ["--help", "help"],
  ["-version", "version"],
  ["--version", "version"],
]);

/** Runs the subcommand that `argv` begins with, and ends the process with its outcome. */
export async function main(argv: readonly string[]): Promise<void> {
  catchInternalErrors();
  let exact: readonly string[];
  try {
    exact = exactArguments(argv);
  } catch (error) {
    if (!(error instanceof InexactArgument)) throw error;
    process.stderr.write(`vmexit: ${error.message}\n`);
    endProcess(USAGE);
    return;
  }
  const alias = aliasOf(process.argv[1]);
  if (alias === undefined) return endProcess(await dispatch(exact));
  const { runAlias } = await import("./run-alias.ts");
  endProcess(await runAlias(alias, exact, runDeps()));
}

/** Runs the subcommand that `argv` begins with. */
export async function dispatch(argv: readonly string[]): Promise<Outcome> {
  const [word, ...rest] = argv;
  const name = word === undefined ? undefined : (SYNONYMS.get(word) ?? word);
  const command = COMMANDS.find((command) => command.name === name);
  const notText = name === "img" ? undefined : wordThatIsNotText(argv);
  if (notText !== undefined) {
    process.stderr.write(
      `vmexit: ${JSON.stringify(notText)} is not UTF-8; only vmexit img takes such names. Rename the file, or make a link to it\n`,
    );
    return USAGE;
  }
  if (command !== undefined) return command.run(rest);
  process.stderr.write(word === undefined ? help() : complaint(word));
  return USAGE;
}

function help(): string {
  const lines = COMMANDS.map(({ name, help }) => `  ${name.padEnd(15)} ${help}\n`).join("");
  return `Usage: vmexit COMMAND [OPTION]…\n\nCommands:\n${lines}\nExit statuses of vmexit run:\n${exitStatusHelp()}`;
}

function complaint(word: string): string {
  if (word.startsWith("-")) {
    return `vmexit: "${word}": options follow a command, as in vmexit run -kernel FILE; vmexit help lists the commands\n`;
  }
  const meant = didYouMean(
    word,
    COMMANDS.map((command) => command.name),
  );
  return `vmexit: unknown command "${word}"${meant}; vmexit help lists the commands\n`;
}
