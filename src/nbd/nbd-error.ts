/** A failure of an NBD client, its server, or the connection of the two. */
import { constants } from "node:os";
import { errnoName } from "../sys/errors.ts";

export class NbdError extends Error {
  override readonly name = "NbdError";
  /** As in Node: "EIO", "EPROTO" … */
  readonly code: string;
  /** As in Node: negative. */
  readonly errno: number;
  /** The message without the place. */
  readonly why: string;

  /**
   * @param where the server, or the client
   * @param why a sentence without its full stop
   * @param errno -errno
   */
  constructor(where: string, why: string, errno: number = -constants.errno.EIO) {
    super(`${where}: ${why}`);
    this.why = why;
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

/** The other side violates the protocol. Later messages from it cannot be trusted. */
export function violation(where: string, what: string): NbdError {
  return new NbdError(where, `this breaks the NBD protocol: ${what}`, -constants.errno.EPROTO);
}

/** Text from the other side, for a message: one line, printable, and not long. */
export function quoted(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, MAX_QUOTED)).toString("utf8");
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?");
}

const MAX_QUOTED = 400;
