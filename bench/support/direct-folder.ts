/**
 * A folder in memory whose files can be opened with O_DIRECT.
 *
 * tmpfs has no O_DIRECT before Linux 6.6. In the lab, whose changes are lost at its end, this is an ext4 file
 * system on a RAM disk (brd). Elsewhere it is the folder for temporary files, whatever file system that is on.
 *
 * Source: Linux Documentation/admin-guide/blockdev/ramdisk.rst; mount(2), O_DIRECT in open(2).
 */
import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";

const RAM_DISK_MIB = 2048;
/** Exists while a command runs in the lab. */
const LAB = "/run/lab";
const MOUNTED = "/run/vmexit-ram-disk";

export function directFolder(): string {
  const above = existsSync(LAB) ? ramDisk() : "/var/tmp";
  const folder = mkdtempSync(join(above, "vmexit-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const probe = join(folder, "probe");
  try {
    closeSync(openSync(probe, constants.O_CREAT | constants.O_RDWR | constants.O_DIRECT));
  } catch (error) {
    throw new Error(`${folder} does not support O_DIRECT, which this benchmark needs`, { cause: error });
  }
  return folder;
}

function ramDisk(): string {
  if (existsSync(MOUNTED)) return MOUNTED;
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { stdio: ["ignore", 2, 2] });
  run("modprobe", "brd", "rd_nr=1", `rd_size=${RAM_DISK_MIB * 1024}`);
  run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", "/dev/ram0");
  mkdirSync(MOUNTED);
  run("mount", "/dev/ram0", MOUNTED);
  return MOUNTED;
}
