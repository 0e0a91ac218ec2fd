/**
 * Linux guests for tests: the kernel, initramfs and disk that lab/guest/build
 * makes. A guest is judged by what it printed, not by how it ended.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createVm,
  type Ending,
  type VirtualMachine,
  type VmError,
  type VmOptions,
  type VmStats,
} from "vmexit";

/** An emulated machine under load is slow. */
export const BOOT_MS = 180_000;

/** A file of the guest: vmlinuz, vmlinux, initrd.img or root.img. */
export function guestFile(name: string): string {
  const folder = process.env.VMEXIT_GUEST_DIR;
  if (folder === undefined)
    throw new Error("VMEXIT_GUEST_DIR is not set; npm test sets it, lab/guest/build prints it");
  return join(folder, name);
}

/** A folder for a test's own files. */
export class Scratch implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "vmexit-guest-"));

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A copy of the guest's root disk, to be written to. */
  rootDisk(name = "root.img"): string {
    const disk = this.path(name);
    copyFileSync(guestFile("root.img"), disk);
    return disk;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Options of a guest that runs from its initramfs; `cmdline` is added to the console's. */
export function linux({ cmdline = "", ...more }: Partial<VmOptions> = {}): VmOptions {
  return {
    memory: "256M",
    kernel: guestFile("vmlinuz"),
    initrd: guestFile("initrd.img"),
    cmdline: `console=ttyS0 quiet ${cmdline}`,
    ...more,
  };
}

/** Everything that a machine prints, from now on. */
export function transcript(vm: VirtualMachine): { readonly text: string } {
  const chunks: Buffer[] = [];
  vm.serial.on("data", (chunk: Buffer) => chunks.push(chunk));
  return {
    get text() {
      return Buffer.concat(chunks).toString().replaceAll("\r", "");
    },
  };
}

export interface Ran {
  /** What the script printed. */
  readonly output: string;
  /** The script's exit status; -1 if it did not come to its end. */
  readonly status: number;
  readonly ending: Ending;
  readonly errors: readonly VmError[];
  readonly stats: VmStats;
}

/** Boots a guest that runs a shell script in place of a login and powers off. */
export async function runScript(script: string, options: Partial<VmOptions> = {}): Promise<Ran> {
  const code = Buffer.from(script).toString("base64");
  await using vm = await createVm(
    linux({ ...options, cmdline: `${options.cmdline ?? ""} vmexit.run=${code}` }),
  );
  const printed = transcript(vm);
  const errors: VmError[] = [];
  vm.on("error", (error) => errors.push(error));
  const ended = new Promise((resolve) => vm.serial.once("end", resolve));
  const timer = setTimeout(() => void vm.stop(), BOOT_MS);
  await vm.start();
  const ending = await vm.exited;
  clearTimeout(timer);
  await ended;
  const found = /vmexit: init\n([\s\S]*)vmexit: status (\d+)/.exec(printed.text);
  const [, output = printed.text, status = "-1"] = found ?? [];
  return { output, status: Number(status), ending, errors, stats: vm.stats() };
}

/** A guest at its shell, reached by logging in on the console. */
export async function logIn(options: Partial<VmOptions> = {}): Promise<VirtualMachine> {
  const vm = await createVm(linux(options));
  await vm.start();
  await vm.serial.waitFor("login: ", { timeoutMs: BOOT_MS });
  vm.serial.write("root\n");
  await vm.serial.waitFor(/# $/, { timeoutMs: BOOT_MS });
  return vm;
}

/** Types a command at the shell's prompt; returns what it printed. */
export async function type(vm: VirtualMachine, command: string): Promise<string> {
  vm.serial.write(`${command}; echo "=$?="\n`);
  const [text] = await vm.serial.waitFor(/\n[\s\S]*=\d+=\r\n# $/, { timeoutMs: BOOT_MS });
  return text
    .replaceAll("\r", "")
    .replace(/=\d+=\n# $/, "")
    .trim();
}
