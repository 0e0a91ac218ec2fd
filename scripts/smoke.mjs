/**
 * Uses a guest's console as a person does, and checks what it prints: waits for the
 * login prompt, logs in, runs a few commands, powers off.
 *
 * The machine is any command that has a guest's serial port as its standard input
 * and output. Everything the guest prints is passed on.
 */
import { spawn } from "node:child_process";

/** The longest that a timer of Node runs; a longer one would end at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** A process whose standard input and output are a guest's console. */
class Console {
  /** What was printed and not yet waited for. */
  #text = "";
  #wake = () => {};
  #child;
  #patience;
  /** How it ended: an exit status, a signal's name, or why it could not start. */
  status = undefined;

  constructor(command, args, patience) {
    this.#patience = patience;
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    const end = (status) => {
      this.status = status;
      this.#wake();
    };
    this.#child.on("error", (error) => end(error.message));
    this.#child.on("close", (status, signal) => end(signal ?? status));
    this.#child.stdin.on("error", () => {}); // the machine ended; `status` is set then
    this.#child.stdout.on("data", (data) => {
      process.stdout.write(data);
      this.#text += data.toString("latin1");
      this.#wake();
    });
  }

  type(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Waits for text that matches, and takes it and all before it away. */
  async waitFor(pattern) {
    const match = await this.#until(() => pattern.exec(this.#text), `${pattern} on the console`);
    this.#text = this.#text.slice(match.index + match[0].length);
    return match;
  }

  async exited() {
    await this.#until(() => this.status !== undefined, "the end of the machine");
    return this.status;
  }

  kill() {
    this.#child.kill();
  }

  async #until(condition, what) {
    const until = Date.now() + this.#patience * 1000;
    for (;;) {
      const result = condition();
      if (result) return result;
      if (this.status !== undefined) {
        throw new SmokeError(`the machine ended (${this.status}) before ${what}`, this.status);
      }
      const rest = until - Date.now();
      if (rest <= 0) throw new SmokeError(`waited ${this.#patience} s for ${what}`, undefined);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, Math.min(rest, MAX_TIMER_MS));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** What went wrong, and how the machine ended if it did. */
class SmokeError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Resolves to what the guest wrote to /root/smoke on its disk.
 *
 * @param {number} patience seconds that the guest may take to print what is expected next
 * @throws {SmokeError}
 */
export async function smoke(cpus, command, args, patience) {
  const guest = new Console(command, args, patience);
  // The shell echoes what is typed, so an answer has a mark that typed text cannot have.
  const ask = async (line) => {
    guest.type(`${line}; echo "<$?"'>'`);
    const [, answer, status] = await guest.waitFor(/\n(.*?)<(\d+)>\r\n# /s);
    expect(status === "0", `\`${line}\` ended with status ${status}`);
    return answer.trim();
  };
  const expect = (good, message) => {
    if (!good) throw new SmokeError(message, guest.status);
  };
  try {
    await guest.waitFor(/vmexit login: $/);
    guest.type("root");
    await guest.waitFor(/# $/);
    const system = await ask("uname -a");
    expect(system.startsWith("Linux vmexit "), `uname says ${system}`);
    const seen = await ask("nproc");
    expect(Number(seen) === cpus, `the guest sees ${seen} CPUs, not ${cpus}`);
    const written = await ask("date >/root/smoke && sync && cat /root/smoke");
    guest.type("poweroff");
    const status = await guest.exited();
    expect(status === 0, `the machine's exit status after power-off is ${status}`);
    return written;
  } finally {
    guest.kill();
  }
}
