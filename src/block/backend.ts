/**
 * What a disk image is to the device in front of it. Data moves between the
 * image and guest RAM without passing through JavaScript.
 *
 * Like system calls, the methods return a result >= 0 or -errno and never
 * throw on what the host says. They are called on the io thread.
 */
export interface BlockBackend {
  /** Bytes a guest can address, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Bytes that the host's storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;

  /**
   * Fills buffers of guest RAM with the image's bytes from `offset` on. All of
   * it, or an error: the bytes returned are what was asked for.
   *
   * @param iov pairs of RAM offset and length in bytes
   * @param first index of the first pair; @param count pairs
   */
  readv(iov: Float64Array, first: number, count: number, offset: number): number;
  /** The other way. With `dsync` the bytes are on stable storage when the call returns. */
  writev(iov: Float64Array, first: number, count: number, offset: number, dsync: boolean): number;
  /** Puts everything written so far on stable storage. */
  flush(): number;
  /** Gives storage back; what is read there afterwards is undefined. -EOPNOTSUPP if the host cannot. */
  discard(offset: number, length: number): number;
  /** Makes a range read as zeros; `mayUnmap` allows to give its storage back. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number;
  close(): void;
}

/** -errno values that mean something to this layer; numbers of <asm-generic/errno.h>. */
export const EIO = -5;
export const EOPNOTSUPP = -95;

const NAMES: Readonly<Record<number, string>> = {
  [EIO]: "EIO (the host's storage failed)",
  [-6]: "ENXIO (the host's device is gone)",
  [-9]: "EBADF (the image is closed)",
  [-19]: "ENODEV (the host's device is gone)",
  [-27]: "EFBIG (a limit on file sizes)",
  [-28]: "ENOSPC (the host's file system is full)",
  [-30]: "EROFS (the host's file system is read-only)",
  [-116]: "ESTALE (the host's network file system lost the image)",
  [-122]: "EDQUOT (a disk quota is used up)",
};

/** What a negative result means, for a message. */
export function hostError(result: number): string {
  return NAMES[result] ?? `errno ${-result}`;
}
