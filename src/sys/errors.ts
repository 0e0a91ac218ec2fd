/**
 * The failures of system calls, as sentences with advice.
 *
 * The native side returns -errno; in this layer only `check` throws.
 */
import { constants } from "node:os";

/** Names of errno values. Where two share a number the first in the list is the common one. */
const CODES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (!CODES.has(number)) CODES.set(number, name);
}
CODES.set(constants.errno.EAGAIN, "EAGAIN").set(constants.errno.EOPNOTSUPP, "EOPNOTSUPP");

/** "ENOENT" for 2 or -2. */
export function errnoName(errno: number): string {
  return CODES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

/** Common failures, and advice for each. Keyed by call and -errno. */
const ADVICE: Readonly<Record<string, string>> = {
  "mmap(guest RAM) -12": "The host has no room for it: give the guest less memory.",
  "mmap(guest RAM) -22": "The size must be a multiple of 4 KiB, with huge pages of 2 MiB.",
  "open -2": "There is no such file.",
  "open -13": "This user may not open it.",
  "open -17": "It exists already.",
  "open -21": "It is a directory.",
  "open -22": "It is neither a regular file nor a block device.",
  "open(O_DIRECT) -22": "Its file system cannot do direct I/O: use the cache mode writeback or writethrough.",
  "open -26": "It is a program that is running.",
  "open -30": "It lies on a read-only file system: open it read-only.",
  "pwrite -28": "The host's file system is full.",
};

export class SystemError extends Error {
  override readonly name: string = "SystemError";
  /** The name of the errno, as in Node: "ENOENT". */
  readonly code: string;
  /** As in Node: negative. */
  readonly errno: number;
  readonly syscall: string;

  /**
   * @param result -errno
   * @param syscall the call that failed
   * @param doing completes the sentence "vmexit was …"
   * @param advice what to try, as a sentence
   */
  constructor(result: number, syscall: string, doing: string, advice?: string) {
    const code = errnoName(result);
    super(`${doing}: ${syscall} failed with ${code}.${advice === undefined ? "" : ` ${advice}`}`);
    this.code = code;
    this.errno = result;
    this.syscall = syscall;
  }
}

/** Passes a native result on, or throws. `doing` completes the sentence "vmexit was …". */
export function check(result: number, syscall: string, doing: string): number {
  if (result < 0) throw new SystemError(result, syscall, doing, ADVICE[`${syscall} ${result}`]);
  return result;
}
