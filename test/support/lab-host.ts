/** What a test may do to its host in the lab, where it is root and all is gone afterwards. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";

export const inLab = process.env.VMEXIT_LAB !== undefined;

/** Runs a program, one of the administrator's too. Returns what it printed. @throws if it fails, with what it said */
export function root(command: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  return execFileSync(command, args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] }).trim();
}

/** A file system in memory that is soon full. To be disposed before the folder that it is in. */
export function smallFileSystem(folder: string, size: string): Disposable & { readonly folder: string } {
  mkdirSync(folder);
  root("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder);
  return { folder, [Symbol.dispose]: () => void root("umount", folder) };
}
