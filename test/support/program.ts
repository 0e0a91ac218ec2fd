/** A program as a process, with what it prints: vmexit itself, unless a test names another. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** The command, as it is installed. */
export const MAIN = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));

export interface Result {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface Starting {
  /** In place of vmexit: the program and its first arguments. */
  readonly program?: readonly string[] | undefined;
  readonly cwd?: string | undefined;
}

export type Child = ReturnType<typeof start>;

export function start(argv: readonly string[], { program = [process.execPath, MAIN], cwd }: Starting = {}) {
  const child = spawn(program[0], [...program.slice(1), ...argv], { cwd, stdio: ["pipe", "pipe", "pipe"] });
  const seen = { out: "", err: "" };
  child.stdout.on("data", (chunk) => {
    seen.out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    seen.err += chunk;
  });
  const says = async (text: string) => {
    while (!seen.out.includes(text)) await once(child.stdout, "data");
  };
  const ended: Promise<Result> = once(child, "close").then(([status, signal]) => ({
    status,
    signal,
    ...seen,
  }));
  return { child, seen, says, ended };
}
