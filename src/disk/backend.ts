/**
 * The interface between a device and its disk. Data moves between the disk and guest
 * RAM without passing through JavaScript.
 *
 * Like system calls, requests return a result >= 0 or -errno, and never throw for
 * errors of the host. A request that has not completed when its call returns gives
 * EINPROGRESS; `take` returns its tag when it has completed:
 *
 *   readv, writev, … for all requests    →  submit  →  take until it returns -1
 *
 * All of it happens on the io thread.
 */

import { EBADF, EIO, ENOSPC, ENXIO, EROFS } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import type { EventFd } from "../sys/event.ts";
import type { DiskFacts } from "./disk-facts.ts";

export interface BlockBackend extends DiskFacts {
  /** Signalled when requests complete by themselves. */
  readonly event: EventFd;
  /** After `take`: bytes moved, or -errno. */
  readonly result: number;

  /**
   * Fills buffers of guest RAM with the disk's bytes from `offset` on. The result
   * is the length of all buffers, or an error.
   */
  readv(pieces: Pieces, offset: number, tag: number): number;
  /** Writes. With `dsync` the bytes are on stable storage when the request completes. */
  writev(pieces: Pieces, offset: number, dsync: boolean, tag: number): number;
  /** Puts every completed write on stable storage. */
  flush(tag: number): number;
  /** Frees storage; the contents are undefined afterwards. -EOPNOTSUPP if that is not supported. */
  discard(offset: number, length: number, tag: number): number;
  /** Makes a range read as zeros; `mayUnmap` allows freeing its storage. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean, tag: number): number;

  /** Submits the requests since the last call. */
  submit(): void;
  /** The tag of a completed request, once for each; -1 if there is none now. */
  take(): number;
  /** Waits until nothing is in flight. False if that will not happen, because the machine ends. */
  drain(): boolean;
  /** Closes the disk, when nothing is in flight. */
  close(): void;
}

const NAMES: Readonly<Record<number, string>> = {
  [EIO]: "EIO (the host's storage failed)",
  [ENXIO]: "ENXIO (the host's device is gone)",
  [EBADF]: "EBADF (the image is closed)",
  [-19]: "ENODEV (the host's device is gone)",
  [-27]: "EFBIG (a limit on file sizes)",
  [ENOSPC]: "ENOSPC (the host's file system is full)",
  [EROFS]: "EROFS (the host's file system is read-only)",
  [-116]: "ESTALE (the host's network file system lost the image)",
  [-122]: "EDQUOT (a disk quota is used up)",
};

/** The meaning of a negative result, for a message. */
export function hostError(result: number): string {
  return NAMES[result] ?? `errno ${-result}`;
}
