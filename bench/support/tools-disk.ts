/**
 * A disk with programs of this machine, for a guest that has only BusyBox. Each has
 * its shared libraries, and a wrapper that finds them.
 *
 *   mount -t ext4 -o ro /dev/vdb /mnt; /mnt/fio …
 *
 * It is a disk because an initramfs would have to be unpacked completely: fio alone
 * has 80 MB of libraries, of which it uses a few pages.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const SIZE = "256M";
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

/** Makes the disk, a raw ext4 image at `path`. @throws if a program is not installed */
export function makeToolsDisk(path: string, commands: readonly string[]): void {
  const folder = mkdtempSync(join(tmpdir(), "vmexit-tools-"));
  try {
    mkdirSync(join(folder, "lib"));
    for (const command of commands) addProgram(folder, command);
    execFileSync("mkfs.ext4", ["-q", "-F", "-O", "^has_journal", "-d", folder, path, SIZE], {
      env: { ...process.env, PATH },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function addProgram(folder: string, command: string): void {
  const find = execFileSync("sh", ["-c", 'command -v "$0"', command], {
    encoding: "utf8",
    env: { ...process.env, PATH },
  });
  const program = realpathSync(find.trim());
  const needed = execFileSync("ldd", [program], { encoding: "utf8" });
  // "libaio.so.1 => /lib/libaio.so.1 (0x…)", and the loader by its path alone.
  const libraries = [...needed.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]);
  const loader = libraries.find((library) => /\/ld-linux/.test(library));
  if (loader === undefined) throw new Error(`${program}: ldd names no loader`);
  for (const library of libraries) copyFileSync(library, join(folder, "lib", basename(library)));
  copyFileSync(program, join(folder, "lib", command));
  const lib = "/mnt/lib";
  const line = `exec ${lib}/${basename(loader)} --library-path ${lib} ${lib}/${command} "$@"`;
  writeFileSync(join(folder, command), `#!/bin/sh\n${line}\n`);
  chmodSync(join(folder, command), 0o755);
}
