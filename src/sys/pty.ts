/**
 * Our end of a pseudo-terminal.
 *
 * Source: pts(4). Bytes go through a duplicate of its descriptor, as a stream of
 * Node; this class is for the calls that Node does not have.
 */
import { check } from "./errors.ts";
import { type NativePty, native } from "./native.ts";

export class Pty {
  /** The path of the other end: /dev/pts/N. */
  readonly path: string;
  readonly #native: NativePty;

  private constructor(handle: NativePty, number: number) {
    this.#native = handle;
    this.path = `/dev/pts/${number}`;
  }

  /** A new one, in raw mode. @throws {SystemError} ENOSPC when the host has no more of them. */
  static open(): Pty {
    const handle = new native.Pty();
    return new Pty(handle, check(handle.open(), "open(/dev/ptmx)", "making a pseudo-terminal"));
  }

  /** True while some process has the other end open. */
  connected(): boolean {
    return check(this.#native.connected(), "poll(/dev/ptmx)", `looking at ${this.path}`) === 1;
  }

  /** A descriptor of our end, which the caller has to close. */
  duplicate(): number {
    return check(this.#native.duplicate(), "dup(/dev/ptmx)", `opening ${this.path}`);
  }

  /** Hangs up on the other end, once all duplicates are closed. Closing twice does nothing. */
  close(): void {
    this.#native.close();
  }
}
