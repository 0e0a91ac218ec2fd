/**
 * A serial port on a pseudo-terminal: `screen /dev/pts/N` may connect, disconnect,
 * and connect again.
 *
 * While no process has the other end open, the guest's output is dropped, as in
 * QEMU: the guest must not wait then. While one has, nothing is dropped in either
 * direction.
 *
 * Source: pty(7). When the other end is closed, reads of this end fail with EIO.
 */
import { Writable } from "node:stream";
import { ReadStream } from "node:tty";
import type { Receiver } from "./keyboard.ts";

/** This end of a pseudo-terminal. */
export interface PtyEnd {
  /** What others open. */
  readonly path: string;
  /** True while some process has it open. */
  connected(): boolean;
  /** A descriptor of this end, to be closed by the caller. */
  duplicate(): number;
  close(): void;
}

/** There is no event when a process opens the other end, so it is polled. */
const POLL_MS = 100;
const LINGER_MS = 100;

export class PtyConsole extends Writable {
  readonly #pty: PtyEnd;
  #timer: NodeJS.Timeout | undefined;
  #receiver: Receiver | undefined;
  #session: ReadStream | undefined;

  constructor(pty: PtyEnd) {
    super();
    this.#pty = pty;
  }

  /**
   * Sends input from the other end to `receiver`. Input that was typed before is
   * still in the pseudo-terminal.
   */
  connect(receiver: Receiver): void {
    this.#receiver = receiver;
    this.#timer = setInterval(() => this.#poll(receiver), POLL_MS);
    this.#timer.unref();
    receiver.on("drain", () => this.#session?.resume());
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#receiver !== undefined) this.#poll(this.#receiver); // a process that has just connected gets this output
    // A session may outlast its connection for a moment. Output must not wait for the next one then.
    if (this.#session === undefined || !this.#pty.connected()) done();
    // When the other end is closed, the callback gets an error, and the rest of the output is lost.
    else this.#session.write(chunk, () => done());
  }

  /** Closing this end drops what the other has not read yet, so a connected reader gets some time. */
  override _final(done: () => void): void {
    if (this.#session === undefined) done();
    else setTimeout(done, LINGER_MS);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearInterval(this.#timer);
    this.#session?.destroy();
    this.#pty.close();
    done(error);
  }

  #poll(receiver: Receiver): void {
    if (this.#session !== undefined || !this.#pty.connected()) return;
    const session = new ReadStream(this.#pty.duplicate());
    this.#session = session;
    session.on("data", (chunk: Buffer) => {
      if (!receiver.write(chunk)) session.pause();
    });
    session.on("error", () => {}); // EIO: the other end was closed
    session.on("close", () => {
      this.#session = undefined;
    });
  }
}
