/**
 * A command of `guestfwd` as a stream: what it prints is read, and what is written is its input.
 *
 * `Duplex.from` does not serve here: it destroys the pair when the command ends without having read its input, with
 * the last output still unread.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { Duplex, type Readable, type Writable } from "node:stream";

export class CommandStream extends Duplex {
  readonly #child: ChildProcess;
  readonly #output: Readable;
  readonly #input: Writable;
  #isInputClosed = false;
  #drained: (() => void) | undefined;

  constructor(command: string) {
    super();
    const child = spawn("/bin/sh", ["-c", command], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.#output = child.stdout;
    this.#input = child.stdin;
    child.once("error", (error) => this.destroy(error));
    child.stdout.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stdout.once("end", () => this.push(null));
    child.stdin.on("drain", () => this.#goOn());
    child.stdin.on("error", () => {}); // it reads no more, which does not end its output
    child.stdin.once("close", () => {
      this.#isInputClosed = true;
      this.#goOn();
    });
    // Nobody can read what the guest sends from now on.
    child.once("close", () => this.end());
  }

  override _read(): void {
    this.#output.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.#isInputClosed || this.#input.write(chunk)) done();
    else this.#drained = done;
  }

  override _final(done: () => void): void {
    this.#input.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#child.kill();
    this.#goOn();
    done(error);
  }

  #goOn(): void {
    const done = this.#drained;
    this.#drained = undefined;
    done?.();
  }
}
