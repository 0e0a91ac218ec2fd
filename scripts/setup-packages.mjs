/**
 * The distribution's packages that building, running and testing vmexit need: the
 * one list of them, and their installation.
 *
 * A package counts as installed when its command exists, wherever that came from;
 * one without a command, when its file does.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** @typedef {"build" | "guest" | "lab" | "image" | "net" | "test" | "check"} Purpose */

/** @type {ReadonlyArray<{ name: string, command: string, purpose: Purpose }>} */
export const PACKAGES = [
  { name: "g++", command: "g++", purpose: "build" },
  { name: "binutils", command: "as", purpose: "build" },
  { name: "make", command: "make", purpose: "build" },
  { name: "python3", command: "python3", purpose: "build" },
  { name: "busybox-static", command: "busybox", purpose: "guest" },
  { name: "cpio", command: "cpio", purpose: "guest" },
  { name: "e2fsprogs", command: "mkfs.ext4", purpose: "guest" },
  { name: "kmod", command: "depmod", purpose: "guest" },
  { name: "lz4", command: "lz4", purpose: "guest" },
  { name: "xz-utils", command: "xz", purpose: "guest" },
  { name: "zstd", command: "zstd", purpose: "guest" },
  { name: "qemu-system-x86", command: "qemu-system-x86_64", purpose: "lab" },
  { name: "acpica-tools", command: "iasl", purpose: "test" },
  { name: "chromium", command: "chromium", purpose: "test" },
  { name: "dmsetup", command: "dmsetup", purpose: "test" },
  { name: "fio", command: "fio", purpose: "test" },
  { name: "gdb", command: "gdb", purpose: "test" },
  { name: "grub-pc-bin", command: "/usr/lib/grub/i386-pc/boot.img", purpose: "test" },
  { name: "isolinux", command: "/usr/lib/ISOLINUX/isolinux.bin", purpose: "test" },
  { name: "libnbd-bin", command: "nbdcopy", purpose: "test" },
  { name: "nbdkit", command: "nbdkit", purpose: "test" },
  { name: "openssl", command: "openssl", purpose: "test" },
  { name: "seabios", command: "/usr/share/seabios/bios-256k.bin", purpose: "test" },
  { name: "syslinux-common", command: "/usr/lib/syslinux/modules/bios/ldlinux.c32", purpose: "test" },
  { name: "xorriso", command: "xorriso", purpose: "test" },
  { name: "qemu-utils", command: "qemu-img", purpose: "image" },
  { name: "iperf3", command: "iperf3", purpose: "net" },
  { name: "clang-format", command: "clang-format", purpose: "check" },
];

/** Where commands are; an ordinary user's PATH lacks the last two, the tools do not mind. */
const FOLDERS = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];

function present({ name, command }) {
  if (command.startsWith("/")) return existsSync(command);
  const path = FOLDERS.map((folder) => join(folder, command)).find((each) => existsSync(each));
  // A guest has no libraries, so BusyBox must be static: ldd fails for it then.
  if (path !== undefined && name === "busybox-static") {
    return spawnSync("ldd", [path], { stdio: "ignore" }).status !== 0;
  }
  return path !== undefined;
}

/**
 * @param {ReadonlyArray<Purpose>} purposes
 * @returns {string[]} names of packages
 */
export function missingPackages(purposes) {
  return PACKAGES.filter((each) => purposes.includes(each.purpose) && !present(each)).map(({ name }) => name);
}

/**
 * Installs what is missing, as root. For anyone else, throws the command that installs it.
 *
 * @param {ReadonlyArray<Purpose>} purposes
 */
export function ensurePackages(purposes) {
  const missing = missingPackages(purposes);
  if (missing.length === 0) return;
  const install = ["apt-get", "install", "-y", "--no-install-recommends", ...missing];
  if (process.getuid?.() !== 0) {
    throw new Error(`packages are missing. Install them and try again:\n\n    sudo ${install.join(" ")}\n`);
  }
  console.error(`setup: installing ${missing.join(", ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (args) =>
    spawnSync(args[0], ["-qq", ...args.slice(1)], { env, stdio: ["ignore", 2, 2] }).status === 0;
  // On a new machine the package lists are missing or old.
  if (!apt(["apt-get", "update"]) || !apt(install)) {
    throw new Error(`the installation failed: ${install.join(" ")}`);
  }
  const still = missingPackages(purposes);
  if (still.length > 0)
    throw new Error(`these packages are installed, but their commands are not in PATH: ${still.join(", ")}`);
}
