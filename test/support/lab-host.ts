/** Actions of tests on their host in the lab, where they are root and every change is lost at the end. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";

export const inLab = process.env.VMEXIT_LAB !== undefined;

/** Runs a program, also from the administrator's folders. Returns its output. @throws if it fails, with its error text */
export function root(command: string, ...args: string[]): string {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  return execFileSync(command, args, { encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] }).trim();
}

/** A small file system in memory. Dispose it before the folder that it is in. */
export function smallFileSystem(folder: string, size: string): Disposable & { readonly folder: string } {
  mkdirSync(folder);
  root("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder);
  return { folder, [Symbol.dispose]: () => void root("umount", folder) };
}
