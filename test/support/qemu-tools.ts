/** qemu-img and qemu-io of the distribution, as references for images. */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";

/** The output of `qemu-img`. @throws if it fails, with its error text. */
export function qemuImg(...args: string[]): string {
  return execFileSync("qemu-img", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Runs qemu-io's commands on an image. @throws if one fails, or reads other bytes than expected. */
export function qemuIo(path: string, commands: readonly string[], format = "qcow2"): string {
  const args = ["-f", format, ...commands.flatMap((command) => ["-c", command]), path];
  const out = execFileSync("qemu-io", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (/failed|verification/i.test(out)) throw new Error(`qemu-io ${commands.join("; ")}: ${out}`);
  return out;
}

export interface QemuCheck {
  readonly corruptions: number;
  readonly leaks: number;
  readonly errors: number;
  readonly output: string;
}

/** The result of `qemu-img check`. */
export function qemuCheck(path: string): QemuCheck {
  const { stdout, stderr, status } = spawnSync("qemu-img", ["check", "-f", "qcow2", "--output=json", path], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  if (status === 1 || stdout === "") throw new Error(`qemu-img check: ${stderr}`);
  const found = JSON.parse(stdout);
  return {
    corruptions: found.corruptions ?? 0,
    leaks: found.leaks ?? 0,
    errors: found["check-errors"] ?? 0,
    output: stderr + stdout,
  };
}

/** The disk of an image, as qemu-img reads it. */
export function qemuContents(path: string, format = "qcow2"): Uint8Array {
  const raw = `${path}.contents`;
  qemuImg("convert", "-f", format, "-O", "raw", path, raw);
  const bytes = readFileSync(raw);
  rmSync(raw);
  return bytes;
}
