/**
 * A guest that accesses its disk on a test's commands, on any KVM: blk-kernel.c at
 * the other end of COM1. Sectors have 512 bytes, blocks 4096.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createVm, type DriveOptions, type VirtualMachine, type VmError, type VmOptions } from "vmexit";
import { patience } from "../../lab/patience.mjs";
import { buildKernel } from "./multiboot-build.ts";

/** The largest number of blocks in a command. */
export const MOST_BLOCKS = 16;

const WAIT_MS = 30_000;

export class BlkGuest implements AsyncDisposable {
  readonly vm: VirtualMachine;
  readonly errors: VmError[] = [];
  readonly notes: string[] = [];

  private constructor(vm: VirtualMachine) {
    this.vm = vm;
    vm.on("error", (error) => this.errors.push(error));
    vm.on("note", (note) => this.notes.push(note));
  }

  /** Starts the guest, with one disk. */
  static async start(drive: DriveOptions, more: Partial<VmOptions> = {}): Promise<BlkGuest> {
    const guest = new BlkGuest(await createVm({ memory: "16M", kernel: kernel(), drives: [drive], ...more }));
    guest.vm.serial.resume();
    await guest.vm.start();
    await guest.ready();
    return guest;
  }

  /** Settles when the machine pauses next, whatever it reports before that. */
  paused(): Promise<void> {
    return new Promise((resolve) => this.vm.once("paused", () => resolve()));
  }

  /** Settles when the kernel has started or restarted. */
  async ready(): Promise<void> {
    await this.vm.serial.waitFor("ready\n", { timeoutMs: patience(WAIT_MS) });
  }

  /** Writes blocks full of one byte. Returns the status of each. */
  write(sector: number, count: number, byte: number): Promise<string> {
    return this.ask(`w ${sector.toString(16)} ${count.toString(16)} ${byte.toString(16)}`);
  }

  /** Reads blocks. Returns the status and the content of each: "0=61 0=61". */
  read(sector: number, count: number): Promise<string> {
    return this.ask(`r ${sector.toString(16)} ${count.toString(16)}`);
  }

  discard(sector: number, count: number): Promise<string> {
    return this.ask(`d ${sector.toString(16)} ${count.toString(16)}`);
  }

  zero(sector: number, count: number): Promise<string> {
    return this.ask(`z ${sector.toString(16)} ${count.toString(16)}`);
  }

  flush(): Promise<string> {
    return this.ask("f");
  }

  /** The size of the disk in bytes, as the guest knows it; and whether it was notified of a change since the last call. */
  async size(): Promise<{ readonly bytes: number; readonly changed: boolean }> {
    const [what, sectors] = (await this.ask("c")).split(" ");
    return { bytes: Number.parseInt(sectors, 16) * 512, changed: what === "changed" };
  }

  /** Sends a command without an answer: the disk blocks it, or the machine ends before. */
  begin(command: string): void {
    this.vm.serial.write(`${command}\n`);
  }

  /** Sends a command; returns its answer, which may take long. */
  async ask(command: string): Promise<string> {
    const { serial } = this.vm;
    const answer = serial.waitFor(/([^\n]*)\n/, { timeoutMs: patience(WAIT_MS) });
    serial.write(`${command}\n`);
    return (await answer)[1];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm.stop();
  }
}

let built: Uint8Array | undefined;

function kernel(): Uint8Array {
  if (built !== undefined) return built;
  const folder = mkdtempSync(join(tmpdir(), "vmexit-blk-"));
  try {
    const file = join(folder, "kernel.elf");
    buildKernel("blk-kernel.c", file);
    built = readFileSync(file);
    return built;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The answer to a successful write of so many blocks. */
export function done(count: number): string {
  return new Array(count).fill("0").join(" ");
}

/** The answer to a successful read of so many blocks that are full of one byte. */
export function full(count: number, byte: number): string {
  return new Array(count).fill(`0=${byte.toString(16).padStart(2, "0")}`).join(" ");
}
