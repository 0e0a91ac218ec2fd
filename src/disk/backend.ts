/**
 * What a disk is to the device in front of it. Data moves between the disk and
 * guest RAM without passing through JavaScript.
 *
 * Like system calls, requests give a result >= 0 or -errno and never throw on
 * what the host says. One that is not over when its call returns gives
 * EINPROGRESS, and its result comes from `take`, under the tag that came with it:
 *
 *   readv, writev, … as many as there are    →  submit  →  take until there is none
 *
 * All of it happens on the io thread.
 */
import type { EventFd } from "../sys/event.ts";

export interface BlockBackend {
  /** Bytes a guest can address, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Bytes that the storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
  /** Rings when requests end by themselves. */
  readonly event: EventFd;
  /** After `take`: bytes moved, or -errno. */
  readonly result: number;

  /**
   * Fills buffers of guest RAM with the disk's bytes from `offset` on. All of
   * it, or an error: the bytes returned are what was asked for.
   *
   * @param iov pairs of RAM offset and length in bytes
   * @param first index of the first pair; @param count pairs
   */
  readv(iov: Float64Array, first: number, count: number, offset: number, tag: number): number;
  /** The other way. With `dsync` the bytes are on stable storage when the request is over. */
  writev(
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
    tag: number,
  ): number;
  /** Puts every write that is over on stable storage. */
  flush(tag: number): number;
  /** Gives storage back; what is read there afterwards is undefined. -EOPNOTSUPP if that cannot be. */
  discard(offset: number, length: number, tag: number): number;
  /** Makes a range read as zeros; `mayUnmap` allows to give its storage back. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean, tag: number): number;

  /** Hands on what was begun since the last call. */
  submit(): void;
  /** The tag of a request that is over, once each; -1 if there is none now. */
  take(): number;
  /** Waits until nothing is under way. False if that will never be, because the machine ends. */
  drain(): boolean;
  /** Lets go of the disk, when nothing is under way. */
  close(): void;
}

// -errno values that mean something to this layer; numbers of <asm-generic/errno.h>.
export const EIO = -5;
export const ENOSPC = -28;
export const EROFS = -30;
export const EOPNOTSUPP = -95;
/** The request goes on, and its result comes later. */
export const EINPROGRESS = -115;

const NAMES: Readonly<Record<number, string>> = {
  [EIO]: "EIO (the host's storage failed)",
  [-6]: "ENXIO (the host's device is gone)",
  [-9]: "EBADF (the image is closed)",
  [-19]: "ENODEV (the host's device is gone)",
  [-27]: "EFBIG (a limit on file sizes)",
  [ENOSPC]: "ENOSPC (the host's file system is full)",
  [EROFS]: "EROFS (the host's file system is read-only)",
  [-116]: "ESTALE (the host's network file system lost the image)",
  [-122]: "EDQUOT (a disk quota is used up)",
};

/** What a negative result means, for a message. */
export function hostError(result: number): string {
  return NAMES[result] ?? `errno ${-result}`;
}
