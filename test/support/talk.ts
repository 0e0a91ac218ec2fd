/** A program that is talked to by its standard input and output. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Result {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program; each time `[text, answer]` comes up in its output, in order, types the answer. */
export function talk(
  args: string[],
  dialogue: readonly (readonly [string, string])[],
  limitMs: number,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
    let output = "";
    let seen = 0;
    let next = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      while (next < dialogue.length) {
        const at = output.indexOf(dialogue[next][0], seen);
        if (at < 0) return;
        seen = at + dialogue[next][0].length;
        child.stdin.write(dialogue[next][1]);
        next++;
      }
    });
    child.on("error", reject);
    child.on("close", (status) => {
      clearTimeout(timer);
      resolve({ status, output });
    });
  });
}
