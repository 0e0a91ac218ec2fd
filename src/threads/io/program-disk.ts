/**
 * A disk that the program provides, as the io thread sees it: requests go to the
 * program's thread as messages, and their results come back through shared
 * memory, because the io thread takes no messages while it works. Data is not
 * sent at all: both see the guest's RAM.
 */
import { EINPROGRESS } from "../../base/errno.ts";
import type { BlockBackend } from "../../disk/backend.ts";
import { EventFd } from "../../sys/event.ts";
import type { Control } from "../control.ts";

/** What the program is asked. Offsets and lengths are bytes of the disk. */
export type ProgramRequest =
  | { readonly kind: "read"; readonly offset: number; readonly iov: Float64Array }
  | { readonly kind: "write"; readonly offset: number; readonly iov: Float64Array; readonly dsync: boolean }
  | { readonly kind: "flush" }
  | { readonly kind: "discard"; readonly offset: number; readonly length: number }
  | {
      readonly kind: "zero";
      readonly offset: number;
      readonly length: number;
      readonly mayUnmap: boolean;
    };

/** What travels to the io thread. */
export interface ProgramDiskData {
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  /** ResultRing.bytes(tags) of them. */
  readonly results: SharedArrayBuffer;
  /** Token of the event that rings when results came. */
  readonly event: number;
}

/** Results on their way from the program's thread, which puts, to the io thread, which takes. */
export class ResultRing {
  /** The number of results ever put, modulo 2^32; then pairs of tag and result. */
  readonly #words: Int32Array;
  readonly #capacity: number;
  /** How many this side has put or taken, modulo 2^32, and where the next one is. */
  #count = 0;
  #place = 0;

  /** Room for a result of each tag, because each tag is in flight at most once. */
  static bytes(tags: number): number {
    return 4 * (1 + 2 * tags);
  }

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
    this.#capacity = (this.#words.length - 1) / 2;
  }

  put(tag: number, result: number): void {
    const at = this.#advance();
    this.#words[at] = tag;
    this.#words[at + 1] = result;
    // Release: the pair is visible before the count that shows it.
    Atomics.store(this.#words, 0, this.#count | 0);
    Atomics.notify(this.#words, 0);
  }

  /** Where the next pair is; -1 if there is none. */
  next(): number {
    if (Atomics.load(this.#words, 0) >>> 0 === this.#count) return -1;
    return this.#advance();
  }

  tag(at: number): number {
    return this.#words[at];
  }

  result(at: number): number {
    return this.#words[at + 1];
  }

  /** Blocks until there is a next one, or for `ms`. */
  wait(ms: number): void {
    Atomics.wait(this.#words, 0, this.#count | 0, ms);
  }

  #advance(): number {
    const at = 1 + 2 * this.#place;
    this.#place = (this.#place + 1) % this.#capacity;
    this.#count = (this.#count + 1) >>> 0;
    return at;
  }
}

/** How often a thread that waits for the program checks whether the machine is ending. */
const END_CHECK_MS = 50;

export class ProgramDisk implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  readonly event: EventFd;
  result = 0;
  readonly #results: ResultRing;
  readonly #ask: (tag: number, request: ProgramRequest) => void;
  readonly #control: Control;
  readonly #discards: boolean;
  #underWay = 0;
  /** Pairs that were taken from the ring by `drain`, and not yet by `take`. */
  readonly #over: { tag: number; result: number }[] = [];

  /**
   * @param discards false: the program hears of no discards
   * @param ask sends a request to the program's thread
   */
  constructor(
    data: ProgramDiskData,
    discards: boolean,
    control: Control,
    ask: (tag: number, request: ProgramRequest) => void,
  ) {
    this.size = data.size;
    this.readOnly = data.readOnly;
    this.blockSize = data.blockSize;
    this.event = EventFd.attach(data.event);
    this.#results = new ResultRing(data.results);
    this.#control = control;
    this.#discards = discards;
    this.#ask = ask;
  }

  readv(iov: Float64Array, first: number, count: number, offset: number, tag: number): number {
    return this.#begin(tag, { kind: "read", offset, iov: iov.slice(2 * first, 2 * (first + count)) });
  }

  writev(
    iov: Float64Array,
    first: number,
    count: number,
    offset: number,
    dsync: boolean,
    tag: number,
  ): number {
    return this.#begin(tag, { kind: "write", offset, iov: iov.slice(2 * first, 2 * (first + count)), dsync });
  }

  flush(tag: number): number {
    return this.#begin(tag, { kind: "flush" });
  }

  discard(offset: number, length: number, tag: number): number {
    return this.#discards ? this.#begin(tag, { kind: "discard", offset, length }) : 0;
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean, tag: number): number {
    return this.#begin(tag, { kind: "zero", offset, length, mayUnmap: mayUnmap && this.#discards });
  }

  submit(): void {} // each is sent when it begins

  take(): number {
    const waiting = this.#over.shift();
    if (waiting !== undefined) {
      this.result = waiting.result;
      return waiting.tag;
    }
    const at = this.#results.next();
    if (at < 0) return -1;
    this.#underWay--;
    this.result = this.#results.result(at);
    return this.#results.tag(at);
  }

  drain(): boolean {
    while (this.#underWay > 0) {
      const at = this.#results.next();
      if (at >= 0) {
        this.#underWay--;
        this.#over.push({ tag: this.#results.tag(at), result: this.#results.result(at) });
      } else if (this.#control.ending) {
        return false;
      } else {
        this.#results.wait(END_CHECK_MS);
      }
    }
    return true;
  }

  close(): void {
    this.event.close();
  }

  #begin(tag: number, request: ProgramRequest): number {
    this.#underWay++;
    this.#ask(tag, request);
    return EINPROGRESS;
  }
}
