/**
 * A disk in an image of any format, and a program's way to use one: bytes and
 * exceptions. A guest's is guest-disk.ts.
 */
import { check } from "../sys/errors.ts";
import type { HostFile } from "../sys/file.ts";
import { BufferMemory, type IoMemory } from "./io-memory.ts";

/**
 * What every format offers. Results are as with BlockBackend, but that an image
 * may throw a SystemError or an ImageError where its own tables are in the way.
 * Ranges lie within `size`.
 */
export interface DiskImage {
  readonly path: string;
  /** "raw", "qcow2" … */
  readonly format: string;
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Bytes that the host's storage writes at once, a power of two from 512 on. */
  readonly blockSize: number;
  readv(memory: IoMemory, iov: Float64Array, first: number, count: number, offset: number): number;
  writev(
    memory: IoMemory,
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
  ): number;
  flush(): number;
  discard(offset: number, length: number): number;
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number;
  /** A hint: this is read next, in one piece. A disk behind a network begins to fetch it. */
  prefetch?(offset: number, length: number): void;
  /** The file whose flush is all that `flush` would do now. Undefined: there is more to it. */
  fileToFlush?(): HostFile | undefined;
  /** For transfers that are only begun when `writev` returns: `settle` waits for them. Called where their order matters. */
  settleWith?(settle: () => void): void;
  /** Brings everything to the file and lets go of it. @throws if that fails; it is closed then, too. */
  close(): void;
}

/** Fills `bytes` with what the disk has from `offset` on. @throws {SystemError | ImageError} */
export function readDisk(image: DiskImage, bytes: Uint8Array, offset: number): void {
  if (bytes.length === 0) return;
  const pair = Float64Array.of(0, bytes.length);
  const result = image.readv(new BufferMemory(bytes), pair, 0, 1, offset);
  check(result, "pread", `reading ${image.path} at ${offset}`);
}

/** Writes all of `bytes`. @throws {SystemError | ImageError} */
export function writeDisk(image: DiskImage, bytes: Uint8Array, offset: number): void {
  if (bytes.length === 0) return;
  const pair = Float64Array.of(0, bytes.length);
  const result = image.writev(new BufferMemory(bytes), pair, 0, 1, offset, false);
  check(result, "pwrite", `writing ${image.path} at ${offset}`);
}
