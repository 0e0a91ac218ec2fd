/**
 * A disk in an image of any format, and its interface for programs: bytes and
 * exceptions. The interface for guests is guest-disk.ts.
 */
import { Pieces } from "../base/pieces.ts";
import { check } from "../sys/errors.ts";
import type { HostFile } from "../sys/file.ts";
import type { DiskFacts } from "./disk-facts.ts";
import { BufferMemory, type IoMemory } from "./io-memory.ts";

/**
 * The interface of every format. Results are as with BlockBackend, but an image throws
 * a SystemError or an ImageError if its own tables cannot be read or written.
 * Ranges lie within `size`. Only some formats have the optional members.
 */
export interface DiskImage extends DiskFacts {
  readonly path: string;
  /** "raw", "qcow2" … */
  readonly format: string;
  /** Bytes that the image allocates at once. Default 512. */
  readonly allocationUnit?: number;
  /** Bytes that are compressed as one. Undefined: nothing is allocated in clusters. */
  readonly clusterSize?: number | undefined;
  /** The image below: it has the bytes of what is not allocated in this one. */
  readonly backing?: DiskImage | undefined;
  /** The snapshots in the image. */
  readonly snapshots?: ImageSnapshots;
  readv(memory: IoMemory, pieces: Pieces, offset: number): number;
  writev(memory: IoMemory, pieces: Pieces, offset: number, dsync: boolean): number;
  flush(): number;
  discard(offset: number, length: number): number;
  writeZeroes(offset: number, length: number, mayUnmap: boolean): number;
  /**
   * How this image alone stores the disk from `start` on: one run of at most `most` bytes. Without it,
   * everything is data.
   */
  extentAt?(start: number, most: number): Extent;
  /** Changes the size of the disk, a multiple of 512 bytes. @throws {ImageError | SystemError} */
  resize?(size: number): void;
  /**
   * Writes one cluster compressed, or as it is if that is not smaller.
   *
   * @param bytes a whole cluster, padded with zeros at the end of the disk
   * @param offset a multiple of the cluster size
   * @throws {ImageError | SystemError}
   */
  writeCompressed?(bytes: Uint8Array, offset: number): void;
  /** A hint: this is read next, in one piece. A disk behind a network begins to fetch it. */
  prefetch?(offset: number, length: number): void;
  /** If flushing means only one fdatasync, the file to sync. */
  fileToFlush?(): HostFile | undefined;
  /** If that erasure means only one call for a file, which the host can carry out: the file, not a block device. */
  fileToErase?(erasure: Erasure): HostFile | undefined;
  /** For transfers that are in flight when `writev` returns: `settle` waits for them. Called where their order matters. */
  settleWith?(settle: () => void): void;
  /** Writes back everything and closes the files. @throws if that fails; it is closed then, too. */
  close(): void;
}

/** A discard; zeros that keep their storage; zeros whose storage may be freed. */
export type Erasure = "discard" | "zero" | "unmap";

/** A run of an image that is stored in one way. */
export interface Extent {
  /** Bytes. */
  readonly length: number;
  /** The image defines what is read here. False: the image below does; without one, it reads as zeros. */
  readonly allocated: boolean;
  readonly zero: boolean;
  /** Bytes are stored for it, of whatever value. */
  readonly data: boolean;
  /** Undefined if nothing is stored, or it is compressed. */
  readonly place: Place | undefined;
}

/** Where a run is stored. */
export interface Place {
  readonly path: string;
  readonly offset: number;
  /** Undefined if it cannot be read directly. */
  readonly file?: HostFile;
}

/** A snapshot inside an image. */
export interface Snapshot {
  readonly id: string;
  readonly name: string;
  /** When it was taken: seconds since 1970, and nanoseconds. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** How long the guest had been running, nanoseconds. */
  readonly vmClock: number;
  /** Bytes of the guest's own state that are saved with it; 0 for a snapshot of the disk alone. */
  readonly vmStateSize: number;
  /** Bytes of the disk then. */
  readonly diskSize: number;
}

/** A file with the state of a machine. */
export interface SavedState {
  readonly path: string;
  /** Nanoseconds of the machine's clock. */
  readonly clockNs: number;
}

export interface ImageSnapshots {
  /** Oldest first. @throws {ImageError | SystemError} */
  list(): readonly Snapshot[];
  /** @param state of a machine, to be in the snapshot. @throws {ImageError} if a snapshot of that name exists; {SystemError} */
  create(name: string, state?: SavedState): void;
  /** Makes the disk what it was then; the snapshot stays. @throws {ImageError} if it does not exist; {SystemError} */
  apply(wanted: string): void;
  /** @param wanted id or name. @throws {ImageError} if it does not exist; {SystemError} */
  delete(wanted: string): void;
}

/** Fills `bytes` with what the disk has from `offset` on. @throws {SystemError | ImageError} */
export function readDisk(image: DiskImage, bytes: Uint8Array, offset: number): void {
  if (bytes.length === 0) return;
  const result = image.readv(new BufferMemory(bytes), Pieces.whole(bytes.length), offset);
  check(result, "pread", `reading ${image.path} at ${offset}`);
}

/** Writes all of `bytes`. @throws {SystemError | ImageError} */
export function writeDisk(image: DiskImage, bytes: Uint8Array, offset: number): void {
  if (bytes.length === 0) return;
  const result = image.writev(new BufferMemory(bytes), Pieces.whole(bytes.length), offset, false);
  check(result, "pwrite", `writing ${image.path} at ${offset}`);
}
