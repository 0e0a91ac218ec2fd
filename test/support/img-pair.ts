/** The same command line for qemu-img and `vmexit img`, each in its own folder. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { imgCommand } from "../../src/cli/img/img.ts";

/** The output of a command, under qemu-img's name, and how it ended. */
export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
}

class Text extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** Runs `vmexit img` in a folder. */
export function ours(folder: string, args: readonly string[]): Answer {
  const stdout = new Text();
  const stderr = new Text();
  const before = process.cwd();
  process.chdir(folder);
  try {
    const status = imgCommand(args, stdout, stderr);
    if (typeof status !== "number") throw new Error(`vmexit img ${args[0]} does not end by itself`);
    const plain = (text: string) => text.replaceAll("vmexit img", "qemu-img");
    return { stdout: plain(stdout.text), stderr: plain(stderr.text), status };
  } finally {
    process.chdir(before);
  }
}

/** Runs qemu-img in a folder. */
export function theirs(folder: string, args: readonly string[]): Answer {
  const { stdout, stderr, status } = spawnSync("qemu-img", args, {
    cwd: folder,
    encoding: "utf8",
    timeout: 60_000,
  });
  return { stdout, stderr, status };
}

/** Two folders that start with the same files. */
export class ImgPair {
  readonly #root = mkdtempSync(join(tmpdir(), "vmexit-img-"));
  readonly qemu = join(this.#root, "qemu");
  readonly vmexit = join(this.#root, "vmexit");

  /** @param setUp makes the files in a folder */
  constructor(setUp: (folder: string) => void = () => {}) {
    mkdirSync(this.qemu);
    setUp(this.qemu);
    cpSync(this.qemu, this.vmexit, { recursive: true });
  }

  /** The results of both tools, each in its own folder. */
  run(args: readonly string[]): { ours: Answer; theirs: Answer } {
    return { theirs: theirs(this.qemu, args), ours: ours(this.vmexit, args) };
  }

  close(): void {
    rmSync(this.#root, { recursive: true });
  }
}
