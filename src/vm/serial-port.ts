/**
 * A serial port from the program's side: a Duplex stream, and `waitFor` for
 * text on the console.
 *
 * Nothing is lost at any speed. Towards the program, a reader that lags fills
 * the stream, then the shared ring, and then the guest waits in its next write.
 * Towards the guest, `write` is called back when the last byte is in the chip's
 * FIFO. One exception, so that a machine nobody listens to can run: until the
 * first reader attaches, only the newest UNREAD_LIMIT bytes are kept, and
 * `dropped` counts the others.
 */
import { Duplex } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/** Where the guest's bytes come from. */
export interface ConsoleSource {
  /** Moves what is there; returns the number of bytes. */
  take(into: Uint8Array): number;
  /** Asks for a call of `SerialPort.wake` at the next byte. False if some are there already. */
  arm(): boolean;
}

/** Where the program's bytes go: false when the receiver is full, until `SerialPort.receiverReady`. */
export type Receive = (byte: number) => boolean;

const UNREAD_LIMIT = 1 << 20;
/** What may wait here, beyond the stream's own buffer, while a reader lags. */
const HELD_LIMIT = 1 << 16;
/** Text kept for `waitFor`, in characters. */
const SEEN_LIMIT = 1 << 20;
/** While output flows, the ring is looked at this often instead of at every byte. */
const COALESCE_MS = 2;
const DEFAULT_TIMEOUT_MS = 60_000;

interface Waiter {
  readonly pattern: RegExp | string;
  resolve(match: RegExpMatchArray): void;
  reject(error: Error): void;
}

/** The text did not come in time, or can no longer come. */
export class WaitError extends Error {
  override readonly name = "WaitError";
  readonly code: "ETIMEDOUT" | "EPIPE";

  constructor(code: "ETIMEDOUT" | "EPIPE", message: string) {
    super(message);
    this.code = code;
  }
}

export class SerialPort extends Duplex {
  readonly #source: ConsoleSource;
  readonly #receive: Receive | undefined;
  readonly #label: string;
  readonly #scratch = new Uint8Array(1 << 16);
  readonly #decoder = new StringDecoder("utf8");
  readonly #waiters: Waiter[] = [];
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #seen = "";
  #wanted = false;
  #attached = false;
  #ended = false;
  #timer: NodeJS.Timeout | undefined;
  #pending: { chunk: Buffer; sent: number; done: () => void } | undefined;
  #bytesOut = 0;
  #bytesIn = 0;
  #dropped = 0;
  /** Called with each piece of text, for whoever watches the console besides the stream's reader. */
  onText: ((text: string) => void) | undefined;

  constructor(label: string, source: ConsoleSource, receive?: Receive) {
    super({ allowHalfOpen: true, decodeStrings: true });
    this.#label = label;
    this.#source = source;
    this.#receive = receive;
    source.arm();
  }

  /** Bytes that the guest sent. */
  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** Bytes that the guest's receiver took. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  /** Bytes that came before anybody read and were let go. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Waits for text from the guest, beginning after the previous match. Does not
   * take the text away from the stream's readers.
   *
   * @param pattern a string, or a RegExp that is tried on everything since the last match
   * @throws {WaitError} ETIMEDOUT after `timeoutMs` (default 60 s), EPIPE when the machine ends first;
   *   the message quotes the last lines that did come.
   */
  waitFor(pattern: RegExp | string, options: { timeoutMs?: number } = {}): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
      const timer = setTimeout(
        () => this.#giveUp(waiter, "ETIMEDOUT", `no ${pattern} within ${timeoutMs} ms`),
        timeoutMs,
      );
      const waiter: Waiter = {
        pattern,
        resolve: (match) => {
          clearTimeout(timer);
          resolve(match);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiters.push(waiter);
      this.#serveWaiters();
      if (this.#ended && this.#waiters.includes(waiter)) {
        this.#giveUp(waiter, "EPIPE", `no ${pattern}: the machine has ended`);
      }
    });
  }

  /** The machine's side: bytes may be waiting in the source. */
  wake(): void {
    if (this.#timer !== undefined || this.#ended) return;
    if (this.#blocked()) return; // _read continues
    this.#drain();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#blocked()) return;
      this.#drain();
      if (!this.#source.arm()) this.wake();
    }, COALESCE_MS);
  }

  /** The machine's side: the receiver has room. */
  receiverReady(): void {
    const pending = this.#pending;
    if (pending === undefined || this.#receive === undefined) return;
    while (pending.sent < pending.chunk.length) {
      if (!this.#receive(pending.chunk[pending.sent])) return;
      pending.sent++;
      this.#bytesIn++;
    }
    this.#pending = undefined;
    pending.done();
  }

  /** The machine's side: takes everything out of the source whatever the reader does, so that no vCPU waits in it. */
  drainAll(): void {
    this.#drain(true);
  }

  /** The machine's side: no more bytes will come. */
  finish(): void {
    if (this.#ended) return;
    this.#drain(true);
    this.#ended = true;
    clearTimeout(this.#timer);
    for (const waiter of [...this.#waiters]) {
      this.#giveUp(waiter, "EPIPE", `no ${waiter.pattern}: the machine has ended`);
    }
    this.#flow();
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.done();
  }

  override _read(): void {
    this.#attached = true;
    this.#wanted = true;
    this.#flow();
    if (!this.#ended && this.#timer === undefined) this.wake();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#ended || this.#receive === undefined) {
      done();
      return;
    }
    this.#pending = { chunk, sent: 0, done };
    this.receiverReady();
  }

  /** True while the reader has to catch up before more is taken from the ring. */
  #blocked(): boolean {
    return this.#attached && this.#heldBytes >= HELD_LIMIT;
  }

  #drain(all = false): void {
    for (;;) {
      if (!all && this.#blocked()) return;
      const count = this.#source.take(this.#scratch);
      if (count === 0) return;
      const chunk = Buffer.from(this.#scratch.subarray(0, count));
      this.#bytesOut += count;
      this.#hold(chunk);
      this.#flow();
      const text = this.#decoder.write(chunk);
      this.#seen += text;
      if (this.#seen.length > 2 * SEEN_LIMIT) this.#seen = this.#seen.slice(-SEEN_LIMIT);
      this.onText?.(text);
      this.#serveWaiters();
    }
  }

  #hold(chunk: Buffer): void {
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    while (!this.#attached && this.#heldBytes > UNREAD_LIMIT) {
      const oldest = this.#held[0];
      const excess = this.#heldBytes - UNREAD_LIMIT;
      const cut = Math.min(excess, oldest.length);
      if (cut === oldest.length) this.#held.shift();
      else this.#held[0] = oldest.subarray(cut);
      this.#heldBytes -= cut;
      this.#dropped += cut;
    }
  }

  /** Gives the stream what it wants of what is held. */
  #flow(): void {
    while (this.#wanted && this.#held.length > 0) {
      const chunk = this.#held.shift();
      if (chunk === undefined) break;
      this.#heldBytes -= chunk.length;
      this.#wanted = this.push(chunk);
    }
    if (this.#ended && this.#held.length === 0 && !this.readableEnded && !this.#endPushed) {
      this.#endPushed = true;
      this.push(null);
    }
  }
  #endPushed = false;

  #serveWaiters(): void {
    for (let waiter = this.#waiters[0]; waiter !== undefined; waiter = this.#waiters[0]) {
      const match = matchText(this.#seen, waiter.pattern);
      if (match === null) return;
      this.#seen = this.#seen.slice((match.index ?? 0) + match[0].length);
      this.#waiters.shift();
      waiter.resolve(match);
    }
  }

  #giveUp(waiter: Waiter, code: "ETIMEDOUT" | "EPIPE", what: string): void {
    const at = this.#waiters.indexOf(waiter);
    if (at < 0) return;
    this.#waiters.splice(at, 1);
    const tail = this.#seen.trimEnd().split("\n").slice(-5).join("\n");
    waiter.reject(new WaitError(code, `${this.#label}: ${what}; the last output was:\n${tail}`));
    this.#serveWaiters();
  }
}

function matchText(text: string, pattern: RegExp | string): RegExpMatchArray | null {
  if (typeof pattern !== "string")
    return text.match(new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "")));
  const index = text.indexOf(pattern);
  if (index < 0) return null;
  const match: RegExpMatchArray = [pattern];
  match.index = index;
  return match;
}
