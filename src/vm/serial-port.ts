/**
 * A serial port from the program's side: a Duplex stream, and `waitFor` for
 * text on the console.
 *
 * No byte is lost at any speed. If the reader is slow, the stream fills, then the
 * shared ring, and then the guest waits in its next write. In the other
 * direction, `write` calls back when the last byte is in the chip's FIFO. There
 * is one exception, so that a machine runs although nobody reads its console:
 * until the first reader attaches, only the newest UNREAD_LIMIT bytes are kept,
 * and `dropped` counts the others.
 */
import { Duplex } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/** Where the guest's bytes come from. */
export interface ConsoleSource {
  /** Moves the bytes that are waiting; returns their number. */
  take(into: Uint8Array): number;
  /** Asks for a call of `SerialPort.wake` at the next byte. False if bytes are waiting already. */
  arm(): boolean;
}

/** Where the program's bytes go: false when the receiver is full, until `SerialPort.receiverReady`. */
export type Receive = (byte: number) => boolean;

const UNREAD_LIMIT = 1 << 20;
/** Bytes that may wait here for a slow reader, beyond the stream's own buffer. */
const HELD_LIMIT = 1 << 16;
/** Small waiting pieces are joined up to this size, so that memory use is about the number of bytes. */
const PIECE = 1 << 12;
/** Text kept for `waitFor`, in characters. */
const SEEN_LIMIT = 1 << 20;
/** While output flows, the ring is read this often instead of at every byte. */
const COALESCE_MS = 2;
const DEFAULT_TIMEOUT_MS = 60_000;
/** The longest timeout of setTimeout, which turns a longer one into 1 ms. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

interface Waiter {
  readonly pattern: RegExp | string;
  resolve(match: RegExpMatchArray): void;
  reject(error: Error): void;
}

/** The text did not come in time, or the machine has ended. */
export class WaitError extends Error {
  override readonly name = "WaitError";
  readonly code: "ETIMEDOUT" | "EPIPE";

  constructor(code: "ETIMEDOUT" | "EPIPE", message: string) {
    super(message);
    this.code = code;
  }
}

export class SerialPort extends Duplex {
  #source: ConsoleSource | undefined;
  #receive: Receive | undefined;
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
  /** Called with each piece of text, for an observer besides the stream's reader. */
  onText: ((text: string) => void) | undefined;

  constructor(label: string) {
    super({ allowHalfOpen: true, decodeStrings: true });
    this.#label = label;
  }

  /** The machine's side: connects a guest. Without `receive` the guest takes no input. */
  plug(source: ConsoleSource, receive?: Receive): void {
    this.#source = source;
    this.#receive = receive;
    this.receiverReady();
    if (!source.arm()) this.wake();
  }

  /** Bytes that the guest sent. */
  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** Bytes that the guest's receiver took. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  /** Bytes that came before the first reader and were discarded. */
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
        () => this.#giveUp(waiter, "ETIMEDOUT", `no ${quote(pattern)} within ${timeoutMs} ms`),
        Math.min(timeoutMs, MAX_TIMEOUT_MS),
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
        this.#giveUp(waiter, "EPIPE", `no ${quote(pattern)}: the machine has ended`);
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
      if (this.#source?.arm() === false) this.wake();
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

  /** The machine's side: empties the source whatever the reader does, so that no vCPU waits in it. */
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
      this.#giveUp(waiter, "EPIPE", `no ${quote(waiter.pattern)}: the machine has ended`);
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

  /** A reader that leaves early, as by `break` in a `for await`, must not block the guest for ever. */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#dropped += this.#heldBytes;
    this.#held.length = 0;
    this.#heldBytes = 0;
    this.wake();
    done(error);
  }

  /** True while the reader must catch up before more bytes are taken from the ring. */
  #blocked(): boolean {
    return this.#attached && this.#heldBytes >= HELD_LIMIT;
  }

  #drain(all = false): void {
    // Even if the guest never stops sending, this thread needs time for other things.
    for (let taken = 0; !this.#ended && (all || taken < this.#scratch.length); ) {
      if (!all && this.#blocked()) break;
      const count = this.#source?.take(this.#scratch) ?? 0;
      if (count === 0) break;
      const chunk = Buffer.from(this.#scratch.subarray(0, count));
      taken += count;
      this.#bytesOut += count;
      const text = this.#decoder.write(chunk);
      this.#seen += text;
      if (this.#seen.length > 2 * SEEN_LIMIT) this.#seen = this.#seen.slice(-SEEN_LIMIT);
      this.onText?.(text);
      this.#hold(chunk);
      this.#flow(); // last: a reader may call read() at once, which calls this again
    }
    this.#serveWaiters(); // once: a pattern is tried on all the text
  }

  #hold(chunk: Buffer): void {
    if (this.destroyed) {
      this.#dropped += chunk.length;
      return;
    }
    const last = this.#held.at(-1);
    if (last === undefined || last.length + chunk.length > PIECE) this.#held.push(chunk);
    else this.#held[this.#held.length - 1] = Buffer.concat([last, chunk]);
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

  /** Passes held bytes to the stream, as many as it wants. */
  #flow(): void {
    while (this.#wanted && this.#held.length > 0) {
      const chunk = this.#held.shift();
      if (chunk === undefined) break;
      this.#heldBytes -= chunk.length;
      this.#wanted = this.push(chunk);
    }
    if (this.#ended && this.#held.length === 0 && !this.destroyed && !this.#endPushed) {
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

function quote(pattern: RegExp | string): string {
  return typeof pattern === "string" ? JSON.stringify(pattern) : String(pattern);
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
