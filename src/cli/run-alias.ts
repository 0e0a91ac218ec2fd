/** Runs the command under one of QEMU's names. */
import { type Alias, qemuStatus, renamedStream, signalText, versionText } from "./alias.ts";
import { OK, type Outcome } from "./exit-status.ts";
import { packageVersion } from "./package.ts";
import { type RunDeps, run } from "./run/run.ts";

/** Returns the exit status. */
export async function runAlias(alias: Alias, argv: readonly string[], deps: RunDeps): Promise<Outcome> {
  const version = versionText(alias, argv[0], packageVersion());
  if (version !== undefined) {
    deps.stdout.write(version);
    return OK;
  }
  const stderr = renamedStream(alias, deps.stderr);
  // Only help is renamed: a guest's output, and names of files, are not this command's.
  const isHelp = argv.some((word) => /^--?h(elp)?$/.test(word));
  const stdout = isHelp ? renamedStream(alias, deps.stdout) : deps.stdout;
  if (alias.runs !== "run") {
    const { imgCommand } = await import("./img/img.ts");
    const words = alias.runs === "nbd" ? ["serve", ...argv] : argv;
    return imgCommand(words, stdout, stderr, (listener) => deps.onSignal(listener));
  }
  const outcome = await run(argv, { ...deps, stdout, stderr, form: { image: true } });
  if (typeof outcome === "string") deps.stderr.write(signalText(alias, outcome));
  return qemuStatus(outcome);
}
