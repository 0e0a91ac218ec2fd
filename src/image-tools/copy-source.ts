/**
 * The reading half of a copy: pieces of a disk, the next one on its way while the
 * caller writes the last.
 *
 * What lies in a file as it is gets read ahead, in a thread of the host, also from
 * the page cache: copying from there is half of the work. A disk behind a network is told what
 * comes next. The rest (compressed clusters, formats that do not say where) is read when its turn
 * comes.
 */
import type { Place } from "../disk/image.ts";
import { AsyncIo } from "../sys/async-io.ts";
import { GuestRam } from "../sys/guest-ram.ts";

/** A part of the disk, no longer than the source was made for. */
export interface Piece {
  /** In the disk, bytes. */
  readonly start: number;
  readonly length: number;
  /** Where its bytes lie, as its BlockStatus says. */
  readonly place: Place | undefined;
}

/** Where pieces are read from. */
export interface PieceReader {
  /** Fills bytes from a place of the disk. @throws {SystemError | ImageError} */
  read(bytes: Buffer, at: number): void;
  /** As DiskImage.prefetch. */
  prefetch(at: number, length: number): void;
}

export class CopySource implements Disposable {
  readonly #reader: PieceReader;
  readonly #most: number;
  readonly #io: AsyncIo;
  /** Two buffers: what the caller has, and what is being read. Private memory gets huge pages on most hosts. */
  readonly #ram: GuestRam;
  readonly #buffers: readonly Buffer[];
  #turn = 0;
  /** What is being read into the buffer whose turn is next. */
  #ahead: Piece | undefined;

  /** @param most bytes of a piece, a multiple of 4096 */
  constructor(reader: PieceReader, most: number) {
    this.#reader = reader;
    this.#most = most;
    this.#ram = GuestRam.create(2 * most, { backing: "anonymous" });
    this.#io = AsyncIo.open("threads", this.#ram, 1, { eager: false });
    this.#buffers = [0, most].map((at) => Buffer.from(this.#ram.map(at, most)));
  }

  /** Begins to read the piece that `read` is asked for next, if that can be. */
  prepare(piece: Piece): void {
    const { place, start, length } = piece;
    if (place?.file === undefined) this.#reader.prefetch(start, length);
    const pair = Float64Array.of((1 - this.#turn) * this.#most, length);
    const handle = place?.file?.transferHandle(pair, 0, 1, place.offset);
    if (place === undefined || handle === undefined) return;
    if (this.#io.read(0, handle, pair, 0, 1, place.offset) < 0) return;
    this.#io.submit();
    this.#ahead = piece;
  }

  /** The bytes of a piece; they are the caller's until the next call. @throws {SystemError | ImageError} */
  read(piece: Piece): Buffer {
    const ahead = this.#ahead;
    const got = ahead === undefined ? 0 : this.#settle();
    this.#turn = 1 - this.#turn;
    const bytes = this.#buffers[this.#turn].subarray(0, piece.length);
    // What failed, or is not all there, is for the image to judge: the end of a file, or lost data.
    if (ahead !== piece || got < piece.length) this.#reader.read(bytes, piece.start);
    return bytes;
  }

  /** Waits for what is still read. */
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
