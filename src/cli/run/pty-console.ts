/**
 * A serial port on a pseudo-terminal: `screen /dev/pts/N`, leave, come again.
 *
 * While nobody has the other end open, what the guest sends goes nowhere, as
 * with QEMU; a guest must not stop because nobody looks. While somebody has,
 * nothing is dropped in either direction.
 *
 * Source: pty(7). The end of a connection is EIO on our end.
 */
import { Writable } from "node:stream";
import { ReadStream } from "node:tty";
import type { Receiver } from "./keyboard.ts";

/** Our end of a pseudo-terminal. */
export interface PtyEnd {
  /** What others open. */
  readonly path: string;
  /** True while some process has it open. */
  connected(): boolean;
  /** A descriptor of our end, to be closed by the caller. */
  duplicate(): number;
  close(): void;
}

/** No event tells that somebody opens the other end, so it is looked at this often. */
const LOOK_MS = 100;
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
   * Sends what comes from the other end to `receiver`. What was typed before, as
   * soon as the name was known, has waited in the pseudo-terminal.
   */
  connect(receiver: Receiver): void {
    this.#receiver = receiver;
    this.#timer = setInterval(() => this.#look(receiver), LOOK_MS);
    this.#timer.unref();
    receiver.on("drain", () => this.#session?.resume());
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#receiver !== undefined) this.#look(this.#receiver); // what comes right after somebody connected is for them
    // Who has just gone may still have a session here; what is sent then must not wait for the next.
    if (this.#session === undefined || !this.#pty.connected()) done();
    // The callback comes with an error when they go; the rest of their bytes goes with them.
    else this.#session.write(chunk, () => done());
  }

  /** Closing our end throws away what the other has not read yet; a reader that is there gets the time to. */
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

  #look(receiver: Receiver): void {
    if (this.#session !== undefined || !this.#pty.connected()) return;
    const session = new ReadStream(this.#pty.duplicate());
    this.#session = session;
    session.on("data", (chunk: Buffer) => {
      if (!receiver.write(chunk)) session.pause();
    });
    session.on("error", () => {}); // EIO: they have gone
    session.on("close", () => {
      this.#session = undefined;
    });
  }
}
