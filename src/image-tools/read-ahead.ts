/**
 * The reading half of a copy: parts of a disk. The next part is read while the caller
 * writes the last one.
 *
 * Uncompressed data in a file is read ahead, in a thread of the host, also from the page cache:
 * the copy from there is half of the work. A disk behind a network gets a hint of the next part.
 * The rest (compressed clusters, formats without places) is read when it is needed.
 */
import { Pieces } from "../base/pieces.ts";
import type { Place } from "../disk/image.ts";
import { AsyncIo } from "../sys/async-io.ts";
import { GuestRam } from "../sys/guest-ram.ts";

/** A part of the disk, not longer than `most` of the source. */
export interface Part {
  /** The offset in the disk, in bytes. */
  readonly start: number;
  readonly length: number;
  /** The place of its bytes, from its BlockStatus. */
  readonly place: Place | undefined;
}

/** The disk that parts are read from. */
export interface PartReader {
  /** Fills bytes from an offset of the disk. @throws {SystemError | ImageError} */
  read(bytes: Buffer, at: number): void;
  /** As DiskImage.prefetch. */
  prefetch(at: number, length: number): void;
}

export class ReadAhead implements Disposable {
  readonly #reader: PartReader;
  readonly #most: number;
  readonly #io: AsyncIo;
  /** Two buffers: the caller's, and the one that is being filled. Private memory gets huge pages on most hosts. */
  readonly #ram: GuestRam;
  readonly #buffers: readonly Buffer[];
  #turn = 0;
  /** The part that is being read into the next buffer. */
  #ahead: Part | undefined;

  /** @param most bytes of a part, a multiple of 4096 */
  constructor(reader: PartReader, most: number) {
    this.#reader = reader;
    this.#most = most;
    this.#ram = GuestRam.create(2 * most, { backing: "anonymous" });
    this.#io = AsyncIo.open("threads", this.#ram, 1, { eager: false });
    this.#buffers = [0, most].map((at) => Buffer.from(this.#ram.map(at, most)));
  }

  /** Starts reading the part of the next `read`, if possible. */
  prepare(part: Part): void {
    const { place, start, length } = part;
    if (place?.file === undefined) this.#reader.prefetch(start, length);
    const pieces = Pieces.of((1 - this.#turn) * this.#most, length);
    const handle = place?.file?.transferHandle(pieces, place.offset);
    if (place === undefined || handle === undefined) return;
    if (this.#io.read(0, handle, pieces, place.offset) < 0) return;
    this.#io.submit();
    this.#ahead = part;
  }

  /** The bytes of a part; they are the caller's until the next call. @throws {SystemError | ImageError} */
  read(part: Part): Buffer {
    const ahead = this.#ahead;
    const got = ahead === undefined ? 0 : this.#settle();
    this.#turn = 1 - this.#turn;
    const bytes = this.#buffers[this.#turn].subarray(0, part.length);
    // The image handles a failed or short read: it may be the end of a file, or lost data.
    if (ahead !== part || got < part.length) this.#reader.read(bytes, part.start);
    return bytes;
  }

  /** Waits for reads in flight. */
  [Symbol.dispose](): void {
    this.#io.close();
    this.#ram.close();
  }

  #settle(): number {
    this.#ahead = undefined;
    while (this.#io.reap() === 0) this.#io.wait();
    return this.#io.results[0];
  }
}
