/**
 * Reads a given number of bytes of a connection: both sides of NBD read headers
 * that say what follows, and payloads that belong into the caller's buffers.
 *
 * A payload is copied once, from the socket's chunk to the buffer; or not at all, if
 * the socket was made with `onread`: then the kernel writes to the buffer. Bytes that
 * nobody reads are buffered up to a limit; then the kernel buffers them, and
 * finally blocks the sender.
 *
 * Bytes are read by one caller at a time.
 */
import type { OnReadOpts } from "node:net";
import type { Duplex } from "node:stream";

/** Bytes that are buffered before the socket is paused. */
const HOLD_BYTES = 2 ** 18;

/** Bytes that are read at once while their meaning is not known yet. */
const SCRATCH_BYTES = 2 ** 16;
/** For less than this, a copy is cheaper than a system call of its own. */
const DIRECT_BYTES = 2 ** 14;
const FAREWELL_MS = 2000;

export class ByteChannel {
  #socket: Duplex;
  #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that were read. */
  #used = 0;
  #held = 0;
  /** The destination of the next bytes, if a reader waits. */
  #target: Uint8Array | undefined;
  #filled = 0;
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};
  #failure: Error | undefined;

  /**
   * @param open makes the socket, or returns one that was not read from yet. It need not be
   *   connected. One that was made with `onread` cannot be replaced later
   */
  constructor(open: (onread: OnReadOpts) => Duplex) {
    this.#socket = open(this.#direct());
    this.#listen();
  }

  /** Why nothing more is sent or received; buffered bytes can still be read. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** The next bytes, in an array of their own. For headers: the length must have a bound. */
  async take(length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    await this.fill(bytes);
    return bytes;
  }

  /** Fills all of `bytes`. @throws if the connection ends before that */
  fill(bytes: Uint8Array): Promise<void> | undefined {
    this.#filled = 0;
    while (this.#filled < bytes.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0];
      const part = Math.min(bytes.length - this.#filled, chunk.length - this.#used);
      bytes.set(chunk.subarray(this.#used, this.#used + part), this.#filled);
      this.#filled += part;
      this.#used += part;
      this.#held -= part;
      if (this.#used === chunk.length) {
        this.#chunks.shift();
        this.#used = 0;
      }
    }
    if (this.#failure === undefined && this.#held < HOLD_BYTES && this.#socket.isPaused())
      this.#socket.resume();
    if (this.#filled === bytes.length) return undefined;
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#target = bytes;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Skips bytes. */
  async skip(length: number): Promise<void> {
    const scratch = new Uint8Array(Math.min(length, HOLD_BYTES));
    for (let left = length; left > 0; left -= scratch.length) {
      await this.fill(scratch.subarray(0, Math.min(left, scratch.length)));
    }
  }

  /**
   * Sends pieces, one after the other, as one write. They must not change until
   * `sent` is called, with the error if there was one.
   */
  send(pieces: readonly Uint8Array[], sent?: (error?: Error | null) => void): void {
    if (this.#failure !== undefined || this.#socket.destroyed) {
      const error = this.#failure ?? new Error("the connection is closed");
      if (sent !== undefined) queueMicrotask(() => sent(error));
      return;
    }
    const last = pieces.length - 1;
    if (last > 0) this.#socket.cork();
    pieces.forEach((piece, n) => {
      this.#socket.write(piece, n === last ? sent : undefined);
    });
    if (last > 0) this.#socket.uncork();
  }

  /** Closes the connection after sent bytes are out, with a short time limit. Waiting readers fail at once. */
  end(): void {
    this.#fail(new Error("the connection was closed"));
    const socket = this.#socket;
    const late = setTimeout(() => socket.destroy(), FAREWELL_MS);
    late.unref();
    socket.end(() => {
      clearTimeout(late);
      socket.destroy();
    });
  }

  /** Closes the connection. Waiting readers fail with `error`. */
  destroy(error: Error): void {
    this.#fail(error);
    this.#socket.destroy();
  }

  /**
   * Continues over another socket, on top of the current one (TLS). Only when
   * nothing is buffered: early bytes would have been sent in the clear.
   *
   * @param wrap makes the socket, and resolves when it is connected
   */
  async replace(wrap: (socket: Duplex) => Promise<Duplex>): Promise<void> {
    if (this.#held > 0) throw new Error("there are bytes in the clear where TLS begins");
    const old = this.#socket;
    old.off("data", this.#take).off("end", this.#ended).off("close", this.#ended).off("error", this.#broken);
    old.pause();
    // Until the new socket is connected; afterwards it reports errors.
    old.on("error", () => {});
    this.#socket = await wrap(old);
    this.#listen();
  }

  #listen(): void {
    this.#socket
      .on("data", this.#take)
      .on("end", this.#ended)
      .on("close", this.#ended)
      .on("error", this.#broken);
  }

  /** For net.connect: the next buffer, and its received bytes. */
  #direct(): OnReadOpts {
    const scratch = new Uint8Array(SCRATCH_BYTES);
    return {
      buffer: () => {
        const target = this.#target;
        const isWorthIt = target !== undefined && target.length - this.#filled >= DIRECT_BYTES;
        return isWorthIt ? target.subarray(this.#filled) : scratch;
      },
      callback: (length, bytes) => {
        if (bytes === scratch) this.#take(scratch.subarray(0, length), true);
        else this.#arrived(length);
        return true;
      },
    };
  }

  /** Bytes have been written to their destination. */
  #arrived(length: number): void {
    this.#filled += length;
    if (this.#target === undefined || this.#filled < this.#target.length) return;
    this.#target = undefined;
    this.#resolve();
  }

  readonly #take = (chunk: Uint8Array, isReused = false): void => {
    let rest = chunk;
    if (this.#target !== undefined) {
      const part = rest.subarray(0, this.#target.length - this.#filled);
      this.#target.set(part, this.#filled);
      this.#arrived(part.length);
      rest = rest.subarray(part.length);
    }
    if (rest.length === 0) return;
    this.#chunks.push(isReused ? rest.slice() : rest);
    this.#held += rest.length;
    if (this.#held >= HOLD_BYTES) this.#socket.pause();
  };

  readonly #ended = (): void => this.#fail(new Error("the other side closed the connection"));

  readonly #broken = (error: Error): void => this.#fail(error);

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    // The kernel does not use the next buffer any more.
    this.#socket.pause();
    if (this.#target === undefined) return;
    this.#target = undefined;
    this.#reject(error);
  }
}
