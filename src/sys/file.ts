/**
 * A regular file or block device, and guest RAM or a buffer as the place where
 * its data comes from and goes to.
 *
 * Two kinds of method. `readv`, `writev`, `flush`, `discard` and `writeZeroes`
 * serve a guest's requests: they return a result >= 0 or -errno, because what
 * becomes of a failure is the device's business. All others throw.
 *
 * Source: preadv2(2), fdatasync(2), fallocate(2), lseek(2), fcntl(2). Every call
 * blocks its thread.
 */

import { closeSync, constants, openSync } from "node:fs";
import { hasEscapes } from "../base/byte-text.ts";
import { EACCES, EAGAIN, EINVAL, EIO, ENOSYS, ENXIO, EOPNOTSUPP } from "../base/errno.ts";
import type { Pieces } from "../base/pieces.ts";
import { check, SystemError } from "./errors.ts";
import type { GuestRam } from "./guest-ram.ts";
import { hostPath } from "./host-path.ts";
import { type NativeFileIo, type NativeGuestRam, native } from "./native.ts";

const READ_ONLY = 1;
const DIRECT = 2;
const CREATE = 4;

export interface HostFileOptions {
  readonly readOnly?: boolean;
  /**
   * O_DIRECT: `readv` and `writev` go past the host's page cache, if their offsets
   * and lengths are multiples of `blockSizes.directAlignment`; otherwise, like all
   * other methods, through it.
   */
  readonly direct?: boolean;
  /** Makes the file; it is an error if there is one. */
  readonly create?: boolean;
}

/** How storage likes to be used, in bytes. */
export interface BlockSizes {
  /** The smallest unit that can be addressed. */
  readonly logical: number;
  /** What the medium writes at once. */
  readonly physical: number;
  /** I/O below this costs extra; 0 if unknown. */
  readonly minimumIo: number;
  /** I/O of this size is best; 0 if unknown. */
  readonly optimalIo: number;
  /** What `direct` needs offsets and lengths to be multiples of. */
  readonly directAlignment: number;
}

/** An open file as data: see `HostFile.shared`. */
export interface SharedFile {
  readonly path: string;
  readonly readOnly: boolean;
  readonly token: number;
  readonly directToken: number | undefined;
}

/** What the data of `readv` and `writev` lies in. */
export type TransferMemory = GuestRam | Uint8Array;

export class HostFile {
  readonly path: string;
  readonly readOnly: boolean;
  readonly isBlockDevice: boolean;
  readonly blockSizes: BlockSizes;
  readonly #native: NativeFileIo;
  /** The same file, opened with O_DIRECT. */
  readonly #direct: NativeFileIo | undefined;
  /** Its length as last seen. */
  #seenSize = 0;

  private constructor(
    handle: NativeFileIo,
    direct: NativeFileIo | undefined,
    path: string,
    readOnly: boolean,
  ) {
    this.#native = handle;
    this.#direct = direct;
    this.path = path;
    this.readOnly = readOnly;
    const facts = new Float64Array(6);
    check(handle.describe(facts), "fstat", `looking at ${path}`);
    const [block, logical, physical, minimumIo, optimalIo, directAlignment] = facts;
    this.isBlockDevice = block === 1;
    this.blockSizes = { logical, physical, minimumIo, optimalIo, directAlignment };
  }

  /** @throws {SystemError} ENOENT, EACCES, EISDIR …; EINVAL for what is neither a file nor a block device. */
  static open(path: string, options: HostFileOptions = {}): HostFile {
    const { readOnly = false, direct = false, create = false } = options;
    const access = readOnly ? READ_ONLY : 0;
    const handle = new native.FileIo();
    check(openHandle(handle, path, access | (create ? CREATE : 0)), "open", `opening ${path}`);
    if (!direct) return new HostFile(handle, undefined, path, readOnly);
    const past = new native.FileIo();
    const opened = openHandle(past, path, access | DIRECT);
    if (opened < 0) handle.close();
    check(opened, "open(O_DIRECT)", `opening ${path} past the page cache`);
    return new HostFile(handle, past, path, readOnly);
  }

  /**
   * Opens a file for reading and writing, and makes it if it is not there. A symbolic link is followed also
   * to a file that is not there yet, as far as the kernel allows (`protected_symlinks`).
   */
  static openOrMake(path: string): HostFile {
    const fd = openDescriptor(path, constants.O_RDWR | constants.O_CREAT);
    check(fd, "open", `opening ${path}`);
    closeSync(fd);
    return HostFile.open(path);
  }

  /** The file that another thread, or another handle of this one, has open. @throws {SystemError} ENOENT if it is closed */
  static attach({ path, readOnly, token, directToken }: SharedFile): HostFile {
    const handle = new native.FileIo();
    check(handle.attach(token), "attach(file)", `sharing ${path} with a thread`);
    if (directToken === undefined) return new HostFile(handle, undefined, path, readOnly);
    const past = new native.FileIo();
    const attached = past.attach(directToken);
    if (attached < 0) handle.close();
    check(attached, "attach(file)", `sharing ${path} with a thread`);
    return new HostFile(handle, past, path, readOnly);
  }

  /** Names the open file in every thread; valid until its last handle closes. Its locks are common to all handles. */
  get shared(): SharedFile {
    const tokenOf = (handle: NativeFileIo) =>
      check(handle.token(), "token(file)", `sharing ${this.path} with a thread`);
    return {
      path: this.path,
      readOnly: this.readOnly,
      token: tokenOf(this.#native),
      directToken: this.#direct && tokenOf(this.#direct),
    };
  }

  /** Length in bytes, now. */
  get size(): number {
    return check(this.#native.size(), "fstat", `looking at ${this.path}`);
  }

  /** Fills `bytes` from `offset` on. Returns how many; fewer only at the end of the file. */
  read(bytes: Uint8Array, offset: number): number {
    return this.#check(this.#native.pread(bytes, offset), "pread", "reading", offset);
  }

  /** Writes all of `bytes` at `offset`. */
  write(bytes: Uint8Array, offset: number): void {
    this.#check(this.#native.pwrite(bytes, offset), "pwrite", "writing", offset);
  }

  /** Sets the length of a regular file in bytes; what is new reads as zero. */
  truncate(size: number): void {
    check(this.#native.truncate(size), "ftruncate", `resizing ${this.path}`);
  }

  /**
   * Reads `length` bytes at `fileOffset` into RAM at `ramOffset`.
   * @throws {SystemError} EIO if the file ends before that; EFAULT if the range is not all RAM.
   */
  readInto(ram: GuestRam, ramOffset: number, length: number, fileOffset: number): void {
    const pair = Float64Array.of(ramOffset, length);
    const result = this.#native.preadv(ram.native, pair, 0, 1, fileOffset);
    if (this.#check(result, "preadv", "reading", fileOffset) < length) {
      throw new SystemError(EIO, "preadv", `reading ${this.path}`, "The file is shorter than it was before.");
    }
  }

  /**
   * Fills pieces of memory with the file's bytes from `fileOffset` on.
   *
   * @returns bytes moved, fewer than asked for only at the end of the file; or
   *   -errno, -EFAULT if a piece is not all memory (then nothing moved)
   */
  readv(memory: TransferMemory, pieces: Pieces, fileOffset: number): number {
    const file = this.#handleFor(memory, pieces, fileOffset);
    return file.preadv(nativeOf(memory), pieces.pairs, pieces.first, pieces.count, fileOffset);
  }

  /** The other way. With `dsync` the bytes are on stable storage when the call returns. */
  writev(memory: TransferMemory, pieces: Pieces, fileOffset: number, dsync: boolean): number {
    const file = this.#handleFor(memory, pieces, fileOffset);
    const { pairs, first, count } = pieces;
    return file.pwritev(nativeOf(memory), pairs, first, count, fileOffset, dsync);
  }

  /**
   * What a transfer goes through when it is begun and completed by AsyncIo.
   * Undefined for one that is not aligned as O_DIRECT needs it: such a one must not
   * run beside others, because it goes through the page cache.
   */
  transferHandle(pieces: Pieces, fileOffset: number): NativeFileIo | undefined {
    if (this.#direct === undefined) return this.#native;
    const mask = this.blockSizes.directAlignment - 1;
    if ((fileOffset & mask) !== 0) return undefined;
    const { pairs, first, count } = pieces;
    for (let i = 2 * first; i < 2 * (first + count); i++) if ((pairs[i] & mask) !== 0) return undefined;
    return this.#direct;
  }

  /** O_DIRECT is for guest RAM: where a buffer of JavaScript's lies nobody knows. */
  #handleFor(memory: TransferMemory, pieces: Pieces, fileOffset: number): NativeFileIo {
    if (memory instanceof Uint8Array) return this.#native;
    return this.transferHandle(pieces, fileOffset) ?? this.#native;
  }

  /** The handle that flushes it. */
  get native(): NativeFileIo {
    return this.#native;
  }

  /** True if the file is at least `end` bytes long. Asks the host only if it was not when last asked. */
  reaches(end: number): boolean {
    if (end <= this.#seenSize) return true;
    this.#seenSize = this.size;
    return end <= this.#seenSize;
  }

  /** Puts everything written so far on stable storage. 0 or -errno. */
  flush(): number {
    return this.#native.fdatasync();
  }

  /** Gives storage back. 0 or -errno, -EOPNOTSUPP where file system or device cannot. */
  discard(offset: number, length: number): number {
    return this.#native.discard(offset, length);
  }

  /** Makes a range read as zeros; `mayUnmap` allows to give its storage back. 0 or -errno, as `discard`. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number {
    return this.#native.writeZeroes(offset, length, mayUnmap);
  }

  /** Reserves storage for a range and lengthens the file to there. 0 or -errno, as `discard`. */
  allocate(offset: number, length: number): number {
    return this.#native.allocate(offset, length);
  }

  /**
   * Where data starts at or behind `offset`; the file's size if there is none. Where the host does not know
   * of holes, as with block devices and some file systems, all of a file is data.
   */
  nextData(offset: number): number {
    return this.#next(offset, false);
  }

  /** Where a hole starts at or behind `offset`; the file's size if there is none. */
  nextHole(offset: number): number {
    return this.#next(offset, true);
  }

  /**
   * Takes (or drops) a shared lock on one byte. It lasts until the file is
   * closed and holds against other open files, of this process or another.
   * False if somebody has that byte for himself.
   * @throws {SystemError} where the file system has no locks.
   */
  lockByte(offset: number, lock: boolean): boolean {
    const result = this.#native.lockByte(offset, lock);
    if (result === EAGAIN || result === EACCES) return false;
    check(result, "fcntl(lock)", `locking ${this.path}`);
    return true;
  }

  /** Does another open file hold a lock on that byte? @throws {SystemError} as `lockByte`. */
  byteIsLocked(offset: number): boolean {
    return (
      check(this.#native.byteIsLocked(offset), "fcntl(lock)", `looking at the locks of ${this.path}`) === 1
    );
  }

  /** Closing twice does nothing. */
  close(): void {
    this.#direct?.close();
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #next(offset: number, hole: boolean): number {
    const result = this.#native.data(offset, hole);
    if (result === ENXIO) return this.size;
    if (HAS_NO_HOLES.includes(result)) return hole ? this.size : Math.min(offset, this.size);
    return this.#check(result, "lseek", "looking for data in", offset);
  }

  #check(result: number, syscall: string, doing: string, offset: number): number {
    return result < 0 ? check(result, syscall, `${doing} ${this.path} at ${offset}`) : result;
  }
}

function nativeOf(memory: TransferMemory): NativeGuestRam | Uint8Array {
  return memory instanceof Uint8Array ? memory : memory.native;
}

/** The addon takes text: a name that is not UTF-8 is opened by its bytes, and the addon opens that. 0 or -errno. */
function openHandle(handle: NativeFileIo, path: string, flags: number): number {
  if (!hasEscapes(path)) return handle.open(path, flags);
  const access = (flags & READ_ONLY) !== 0 ? constants.O_RDONLY : constants.O_RDWR;
  const fd = openDescriptor(
    path,
    access | ((flags & CREATE) !== 0 ? constants.O_CREAT | constants.O_EXCL : 0),
  );
  if (fd < 0) return fd;
  try {
    return handle.open(`/proc/self/fd/${fd}`, flags & ~CREATE);
  } finally {
    closeSync(fd);
  }
}

/** Never waits for the other end of a FIFO, and never takes a terminal. A descriptor, or -errno. */
function openDescriptor(path: string, flags: number): number {
  try {
    return openSync(hostPath(path), flags | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const errno = error instanceof Error && "errno" in error ? Number(error.errno) : 0;
    if (errno < 0) return errno;
    throw error;
  }
}

/** SEEK_DATA and SEEK_HOLE are not known: EINVAL of block devices, the others of file systems. */
const HAS_NO_HOLES: readonly number[] = [EINVAL, ENOSYS, EOPNOTSUPP];
