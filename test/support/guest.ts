/**
 * Linux guests for tests: the kernel, initramfs and disk that lab/guest/build
 * makes. A test checks the output of a guest, not how it ended.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  createVm,
  type Ending,
  type VirtualMachine,
  type VmError,
  type VmOptions,
  type VmStats,
} from "vmexit";
import { patience } from "../../lab/patience.mjs";

/** What a guest may take for its boot, or for one answer at its shell: a limit that only a hang reaches. */
export function bootMs(): number {
  return patience(180_000);
}

/** A file of the guest: vmlinuz, vmlinux, initrd.img or root.img. */
export function guestFile(name: string): string {
  const folder = process.env.VMEXIT_GUEST_DIR;
  if (folder === undefined)
    throw new Error("VMEXIT_GUEST_DIR is not set; npm test sets it, lab/guest/build prints it");
  return join(folder, name);
}

/** A PC's disk with GRUB legacy, as stock images are; copy it before you write to it. */
export function pcDisk(): string {
  const path = process.env.VMEXIT_PC_DISK;
  if (path === undefined)
    throw new Error("VMEXIT_PC_DISK is not set; npm test sets it, lab/pc-disk/build prints it");
  return path;
}

/** A medium that lab/pc-media/build makes: isolinux.iso, grub.iso, memtest.iso or gpt.img. */
export function pcMedium(name: string): string {
  const folder = process.env.VMEXIT_PC_MEDIA;
  if (folder === undefined)
    throw new Error("VMEXIT_PC_MEDIA is not set; npm test sets it, lab/pc-media/build prints it");
  return join(folder, name);
}

/** A folder for a test's own files. */
export class Scratch implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "vmexit-guest-"));

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A writable copy of the guest's root disk. */
  rootDisk(name = "root.img"): string {
    const disk = this.path(name);
    copyFileSync(guestFile("root.img"), disk);
    return disk;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Options of a guest that runs from its initramfs; `cmdline` follows the console's parameter. */
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
  /** The output of the script. */
  readonly output: string;
  /** The script's exit status; -1 if it did not reach its end. */
  readonly status: number;
  readonly ending: Ending;
  readonly errors: readonly VmError[];
  readonly stats: VmStats;
}

/** A script for a command line; one that is too long is compressed and unpacks itself. */
function encode(script: string): string {
  const code = Buffer.from(script).toString("base64");
  if (code.length <= LONG_SCRIPT) return code;
  const packed = gzipSync(script, { level: 9 }).toString("base64");
  return Buffer.from(`echo ${packed}|base64 -d|gunzip >/run/unpacked;. /run/unpacked`).toString("base64");
}

/** Characters; a kernel's command line has 2047. */
const LONG_SCRIPT = 1800;

/**
 * A guest that runs a shell script in place of a login and powers off, together with a
 * test: the script makes requests by its output, and waits with `read`.
 */
export class ScriptGuest implements AsyncDisposable {
  readonly vm: VirtualMachine;
  readonly errors: VmError[] = [];
  readonly #printed: { readonly text: string };
  readonly #drained: Promise<unknown>;

  private constructor(vm: VirtualMachine) {
    this.vm = vm;
    this.#printed = transcript(vm);
    this.#drained = new Promise((resolve) => vm.serial.once("end", resolve));
    vm.on("error", (error) => this.errors.push(error));
  }

  static async start(script: string, options: Partial<VmOptions> = {}): Promise<ScriptGuest> {
    const cmdline = `${options.cmdline ?? ""} vmexit.run=${encode(script)}`;
    const guest = new ScriptGuest(await createVm(linux({ ...options, cmdline })));
    await guest.vm.start();
    return guest;
  }

  /** Waits until the script has printed this, after the text of the previous wait. */
  async says(text: string | RegExp): Promise<void> {
    await this.vm.serial.waitFor(text, { timeoutMs: bootMs() });
  }

  /** Waits until the machine pauses next. */
  async paused(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.vm.once("paused", () => resolve());
      void this.vm.exited.then(() =>
        reject(new Error(`the machine ended and never paused: ${this.#printed.text}`)),
      );
    });
  }

  /** Lets a script continue that waits in `read`. */
  goOn(): void {
    this.vm.serial.write("\n");
  }

  /** Waits for its end. */
  async end(): Promise<Ran> {
    const timer = setTimeout(() => void this.vm.stop(), bootMs());
    const ending = await this.vm.exited;
    clearTimeout(timer);
    await this.#drained;
    const { text } = this.#printed;
    const found = /vmexit: init\n([\s\S]*)vmexit: status (\d+)/.exec(text);
    const [, output = text, status = "-1"] = found ?? [];
    return { output, status: Number(status), ending, errors: this.errors, stats: this.vm.stats() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm.stop();
  }
}

/** Boots a guest that runs a shell script in place of a login and powers off. */
export async function runScript(script: string, options: Partial<VmOptions> = {}): Promise<Ran> {
  await using guest = await ScriptGuest.start(script, options);
  return await guest.end();
}

/** A guest at its shell, after a login on the console. */
export async function logIn(options: Partial<VmOptions> = {}): Promise<VirtualMachine> {
  const vm = await createVm(linux(options));
  await vm.start();
  await vm.serial.waitFor("login: ", { timeoutMs: bootMs() });
  vm.serial.write("root\n");
  await vm.serial.waitFor(/# $/, { timeoutMs: bootMs() });
  return vm;
}

/** Types a command at the shell's prompt; returns its output. */
export async function type(vm: VirtualMachine, command: string): Promise<string> {
  vm.serial.write(`${command}; echo "=$?="\n`);
  const [text] = await vm.serial.waitFor(/\n[\s\S]*=\d+=\r\n# $/, { timeoutMs: bootMs() });
  return text
    .replaceAll("\r", "")
    .replace(/=\d+=\n# $/, "")
    .trim();
}
