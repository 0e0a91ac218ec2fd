/**
 * The guest that benchmarks boot (lab/guest/build makes it): a kernel in two forms
 * and a BusyBox system in an initramfs. It needs no disk.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Monitor, Running, withSpareLives } from "./monitor.ts";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

export const GUEST_MEMORY_MIB = 256;
/** Without quiet, a boot mostly prints its log on the serial port, which bench/serial measures. */
const CMDLINE = "console=ttyS0 quiet";

export interface Guest {
  /** A bzImage. */
  readonly vmlinuz: string;
  /** The same kernel as an ELF file, with a PVH entry. */
  readonly vmlinux: string;
  readonly initrd: string;
}

export function findGuest(): Guest {
  const folder = process.env.VMEXIT_GUEST_DIR ?? made("lab/guest/build");
  return {
    vmlinuz: join(folder, "vmlinuz"),
    vmlinux: join(folder, "vmlinux"),
    initrd: join(folder, "initrd.img"),
  };
}

/** A disk of the shape of stock images. */
export function findPcDisk(): string {
  return process.env.VMEXIT_PC_DISK ?? made("lab/pc-disk/build");
}

/** An initramfs with drivers of IDE disks. */
export function findPcMedia(): { readonly initrd: string } {
  return { initrd: join(process.env.VMEXIT_PC_MEDIA ?? made("lab/pc-media/build"), "initrd.img") };
}

/** What a script of the lab prints: the path of what it made. */
function made(script: string): string {
  return execFileSync(join(ROOT, script), { stdio: ["ignore", "pipe", "inherit"] })
    .toString()
    .trim();
}

/** Options that our command and QEMU share: one CPU, console on standard input and output. */
export function bootArguments(kernel: string, initrd: string, append = ""): string[] {
  return [
    ...["-m", String(GUEST_MEMORY_MIB), "-smp", "1", "-kernel", kernel, "-initrd", initrd],
    ...["-append", `${CMDLINE} ${append}`.trim(), "-nodefaults", "-serial", "stdio", "-no-reboot"],
  ];
}

/** A folder in memory if possible, so that neither monitor waits for a disk. */
export function scratchFolder(): string {
  const folder = mkdtempSync("/dev/shm/vmexit-bench-");
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

// --- a guest that runs commands -----------------------------------------------------

/** Reads lines from the console and runs them, without an echo. */
const OBEY = `stty -echo
echo "vmexit: ready"
while read -r line; do eval "$line"; done
`;

/** For the kernel's command line: see lab/guest/root/sbin/console. */
export const obey = `vmexit.run=${Buffer.from(OBEY).toString("base64")}`;

/** A guest with a shell that waits for commands. It is started at first use, and again if it died. */
export class ObedientGuest {
  readonly monitor: Monitor;
  readonly #prepare: string;
  #running: Running | undefined;

  /** @param prepare commands that the shell of a new guest runs before measurements */
  constructor(monitor: Monitor, prepare = ":") {
    this.monitor = monitor;
    this.#prepare = prepare;
  }

  /**
   * Runs a line that prints `<start>` and `<end>` itself.
   * @param mark called with the monitor's process id when each of them arrives
   * @returns milliseconds between the two, and what was printed between them
   */
  time(line: string, mark: (pid: number) => void = () => {}): Promise<{ ms: number; printed: string }> {
    return withSpareLives(async () => {
      try {
        this.#running ??= await this.#start();
        const running = this.#running;
        running.write(`${line}\n`);
        const start = await running.waitFor("<start>\r\n");
        mark(running.pid);
        const end = await running.waitFor("<end>\r\n");
        mark(running.pid);
        return { ms: end.at - start.at, printed: end.before };
      } catch (error) {
        await this.stop();
        throw error;
      }
    });
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
  }

  async #start(): Promise<Running> {
    const running = new Running(this.monitor);
    try {
      await running.waitFor("vmexit: ready\r\n");
      running.write(`${this.#prepare}; echo "<ready>"\n`);
      await running.waitFor("<ready>\r\n");
      return running;
    } catch (error) {
      await running.stop();
      throw error;
    }
  }
}

// --- programs for the initramfs -----------------------------------------------------

/** A copy of the initramfs in `folder`, with one more program in /bin. Linux unpacks concatenated archives. */
export function withProgram(initrd: string, program: string, name: string, folder: string): string {
  const file = join(folder, `initrd-${name}.img`);
  const before = readFileSync(initrd);
  const padding = Buffer.alloc((4 - (before.length % 4)) % 4);
  const archive = [cpioEntry(`bin/${name}`, readFileSync(program)), cpioEntry("TRAILER!!!", Buffer.alloc(0))];
  writeFileSync(file, Buffer.concat([before, padding, ...archive]));
  return file;
}

/** Linux Documentation/driver-api/early-userspace/buffer-format.rst: the newc header, the name, the data. */
function cpioEntry(path: string, data: Buffer): Buffer {
  const S_IFREG_EXECUTABLE = 0o100755;
  const name = Buffer.from(`${path}\0`);
  const [inode, links, size] = [1, 1, data.length];
  const fields = [inode, S_IFREG_EXECUTABLE, 0, 0, links, 0, size, 0, 0, 0, 0, name.length, 0];
  const hex = fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  const pad = (length: number) => Buffer.alloc((4 - (length % 4)) % 4);
  const header = Buffer.from(`070701${hex}`);
  return Buffer.concat([header, name, pad(header.length + name.length), data, pad(data.length)]);
}
