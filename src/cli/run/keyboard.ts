/**
 * The keyboard of a guest: this process's standard input.
 *
 * On a terminal, raw: every key goes to the guest but for Ctrl-A and what
 * follows it. From a file or a pipe, the bytes go through as they are, and their
 * end does not end the guest.
 *
 * The terminal is restored at the end of the process, whatever ends it, as
 * long as JavaScript still runs; after kill -9 the shell's `reset` does it.
 */
import { EscapeFilter, KEYS_HELP } from "./escape-filter.ts";

/** What a keyboard needs of a stream. process.stdin has it, whatever it is connected to. */
export interface Input {
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  off(event: "data", listener: (chunk: Buffer) => void): unknown;
  pause(): unknown;
  resume(): unknown;
  isPaused(): boolean;
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}

/** What the user asks of the command itself. */
export type Command = "quit" | "resume" | "save";

/** What a keyboard needs of the guest's serial port. */
export interface Receiver {
  write(bytes: Uint8Array): boolean;
  readonly writableLength: number;
  on(event: "drain", listener: () => void): unknown;
  off(event: "drain", listener: () => void): unknown;
}

/**
 * Input that may wait for the guest, in bytes. While less than this waits, the
 * terminal is read: Ctrl-A x has to work with a guest that reads nothing.
 */
const TYPE_AHEAD = 1 << 20;

export class Keyboard {
  readonly #input: Input;
  readonly #notice: (text: string) => void;
  readonly #isTerminal: boolean;
  readonly #filter = new EscapeFilter();
  #receiver: Receiver | undefined;
  #command: ((key: Command) => void) | undefined;
  #closed = false;

  /** @param notice prints a text for the user, besides the guest's output */
  constructor(input: Input, notice: (text: string) => void) {
    this.#input = input;
    this.#notice = notice;
    this.#isTerminal = input.isTTY === true;
  }

  /** Sends what is typed to `receiver` from now on; calls `command` at Ctrl-A x, r and s. */
  connect(receiver: Receiver, command: (key: Command) => void): void {
    if (this.#closed) return; // the command ended while the machine was being created
    this.#receiver = receiver;
    this.#command = command;
    receiver.on("drain", this.#drained);
    // After a hangup reads fail with EIO. The guest continues without input.
    this.#input.on("error", () => {});
    this.#input.on("data", this.#typed);
    if (!this.#isTerminal) return;
    this.#input.setRawMode?.(true);
    process.on("exit", this.#restore);
    process.on("SIGCONT", this.#rawAgain);
  }

  /** Restores the terminal. What is typed from now on is for the shell. */
  close(): void {
    this.#closed = true;
    this.#receiver?.off("drain", this.#drained);
    this.#input.off("data", this.#typed);
    this.#input.pause();
    if (!this.#isTerminal) return;
    this.#restore();
    process.off("exit", this.#restore);
    process.off("SIGCONT", this.#rawAgain);
  }

  readonly #typed = (chunk: Uint8Array): void => {
    let bytes = chunk;
    if (this.#isTerminal) {
      const { forGuest, keys } = this.#filter.take(chunk);
      bytes = forGuest;
      for (const key of keys) {
        if (key.kind === "help") this.#notice(KEYS_HELP);
        else if (key.kind !== "unknown") this.#command?.(key.kind);
        else this.#notice(`\nCtrl-A ${keyName(key.byte)} does nothing; Ctrl-A h lists the keys\n`);
      }
    }
    const receiver = this.#receiver;
    if (bytes.length === 0 || receiver === undefined || receiver.write(bytes)) return;
    if (receiver.writableLength >= (this.#isTerminal ? TYPE_AHEAD : 0)) this.#input.pause();
  };

  readonly #drained = (): void => {
    if (this.#input.isPaused()) this.#input.resume();
  };

  readonly #restore = (): void => {
    this.#input.setRawMode?.(false);
  };

  /** While the process was stopped, the shell changed the terminal. Node remembers its own setting, so it is set twice. */
  readonly #rawAgain = (): void => {
    this.#input.setRawMode?.(false);
    this.#input.setRawMode?.(true);
  };
}

function keyName(byte: number): string {
  if (byte < 0x20) return `Ctrl-${String.fromCharCode(byte + 0x40)}`;
  return byte < 0x7f ? String.fromCharCode(byte) : `0x${byte.toString(16)}`;
}
