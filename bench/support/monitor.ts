/**
 * A monitor as a user starts it: a process whose standard output is the guest's
 * first serial port. The same code starts, reads and times ours and the peers.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** How often a guest that died is started again before a benchmark gives up. */
const LIVES = 4;

/** A guest under emulation may take this long until it prints what is expected. */
const PATIENCE_MS = 120_000;

const PACKAGE = new URL("../../../../package.json", import.meta.url);

export interface Monitor {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** The command of this package, with QEMU's options. */
export function vmexit(...args: string[]): Monitor {
  const { bin }: { bin: { vmexit: string } } = JSON.parse(readFileSync(PACKAGE, "utf8"));
  const main = fileURLToPath(new URL(bin.vmexit, PACKAGE));
  return { name: "vmexit", command: process.execPath, args: [main, "run", ...args] };
}

export function qemu(name: string, ...args: string[]): Monitor {
  return { name: `QEMU ${name}`, command: "qemu-system-x86_64", args: ["-accel", "kvm", ...args] };
}

/** A guest ended, or printed nothing for a long time, while output was expected. */
export class GuestDied extends Error {
  override readonly name = "GuestDied";
}

export class Running {
  readonly monitor: Monitor;
  /** By performance.now(). */
  readonly startedAt: number;
  /** All that was printed to standard error. */
  errors = "";
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  #end: string | undefined;
  /** Output that `waitFor` has not taken yet. */
  #text = "";
  #changed = () => {};
  #lastData = 0;

  constructor(monitor: Monitor) {
    this.monitor = monitor;
    this.startedAt = performance.now();
    this.#child = spawn(monitor.command, monitor.args, { stdio: ["pipe", "pipe", "pipe"] });
    this.#ended = new Promise((resolve) => {
      this.#child.on("error", (error) => resolve(error.message));
      this.#child.on("close", (status, signal) => resolve(`${signal ?? `exit status ${status}`}`));
    });
    void this.#ended.then((end) => {
      this.#end = end;
      this.#changed();
    });
    this.#child.stdin?.on("error", () => {}); // it ended, which `waitFor` reports
    this.#child.stderr?.on("data", (data: Buffer) => {
      this.errors += data.toString();
    });
    this.#child.stdout?.on("data", (data: Buffer) => {
      this.#lastData = performance.now();
      this.#text += data.toString("latin1");
      this.#changed();
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /**
   * Waits for text on the console, and removes it and everything before it from the output.
   * @returns the time at which its last byte arrived, by performance.now(), and the output before it
   */
  async waitFor(text: string, timeoutMs = PATIENCE_MS): Promise<{ at: number; before: string }> {
    const until = performance.now() + timeoutMs;
    let searched = 0;
    for (;;) {
      const found = this.#text.indexOf(text, Math.max(0, searched - text.length));
      if (found >= 0) {
        const before = this.#text.slice(0, found);
        this.#text = this.#text.slice(found + text.length);
        return { at: this.#lastData, before };
      }
      searched = this.#text.length;
      const rest = until - performance.now();
      if (this.#end !== undefined || rest <= 0) throw new GuestDied(this.#complaint(text));
      await this.#change(rest);
    }
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Asks the process to end, and waits until it has. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGKILL"): Promise<void> {
    if (this.#end === undefined) this.#child.kill(signal);
    const late = sleep(5_000, "late", { ref: false });
    if ((await Promise.race([this.#ended, late])) === "late") this.#child.kill("SIGKILL");
    await this.#ended;
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#changed = () => {
        clearTimeout(timer);
        this.#changed = () => {};
        resolve();
      };
    });
  }

  #complaint(text: string): string {
    const { name, command, args } = this.monitor;
    const end = this.#end === undefined ? "did not come in time" : `did not come: ${this.#end}`;
    return `${name}: ${JSON.stringify(text)} ${end}\n${command} ${args.join(" ")}\n${this.errors}${this.#text.slice(-500)}`;
  }
}

/** Starts a monitor, runs `use` with it, and ends it. */
export async function withMonitor<T>(monitor: Monitor, use: (running: Running) => Promise<T>): Promise<T> {
  const running = new Running(monitor);
  try {
    return await use(running);
  } finally {
    await running.stop();
  }
}

/**
 * Does something again if the guest died. Under an emulated SVM a guest of any
 * monitor sometimes ends in a triple fault; each case is reported.
 */
export async function withSpareLives<T>(what: () => Promise<T>): Promise<T> {
  for (let life = 1; ; life++) {
    try {
      return await what();
    } catch (error) {
      if (!(error instanceof GuestDied) || life === LIVES) throw error;
      console.error(`bench: starting over (${life} of ${LIVES - 1}): ${error.message}`);
    }
  }
}
