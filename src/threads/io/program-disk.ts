/**
 * A disk that the program provides, as the io thread sees it. Requests go to the
 * program's thread as messages. Results come back through shared memory, because
 * the io thread takes no messages while it works. Data is not sent at all: both
 * threads have the guest's RAM.
 */

import { EINPROGRESS } from "../../base/errno.ts";
import type { Pieces } from "../../base/pieces.ts";
import type { BlockBackend } from "../../disk/backend.ts";
import { EventFd } from "../../sys/event.ts";
import type { Control } from "../control.ts";
import { ResultRing } from "./result-ring.ts";

/** A request to the program. Offsets and lengths are in bytes of the disk. */
export type ProgramRequest =
  | { readonly kind: "read"; readonly offset: number; readonly pairs: Float64Array }
  | { readonly kind: "write"; readonly offset: number; readonly pairs: Float64Array; readonly dsync: boolean }
  | { readonly kind: "flush" }
  | { readonly kind: "discard"; readonly offset: number; readonly length: number }
  | {
      readonly kind: "zero";
      readonly offset: number;
      readonly length: number;
      readonly mayUnmap: boolean;
    };

/** What is sent to the io thread. */
export interface ProgramDiskData {
  readonly size: number;
  readonly readOnly: boolean;
  readonly blockSize: number;
  /** A ResultRing. */
  readonly results: SharedArrayBuffer;
  /** Token of the event that is signalled when results came. */
  readonly event: number;
}

/** How often `drain` checks whether the machine is ending. */
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
  #inFlight = 0;
  /** Results that `drain` took from the ring, and `take` has not returned yet. */
  readonly #completed: { tag: number; result: number }[] = [];

  /**
   * @param discards false: discards are not sent to the program
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

  readv(pieces: Pieces, offset: number, tag: number): number {
    return this.#begin(tag, { kind: "read", offset, pairs: pieces.copyPairs() });
  }

  writev(pieces: Pieces, offset: number, dsync: boolean, tag: number): number {
    return this.#begin(tag, { kind: "write", offset, pairs: pieces.copyPairs(), dsync });
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

  submit(): void {} // each request is sent when it begins

  take(): number {
    const waiting = this.#completed.shift();
    if (waiting !== undefined) {
      this.result = waiting.result;
      return waiting.tag;
    }
    if (!this.#results.take()) return -1;
    this.#inFlight--;
    this.result = this.#results.result;
    return this.#results.tag;
  }

  drain(): boolean {
    while (this.#inFlight > 0) {
      if (this.#results.take()) {
        const { tag, result } = this.#results;
        this.#inFlight--;
        this.#completed.push({ tag, result });
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
    this.#inFlight++;
    this.#ask(tag, request);
    return EINPROGRESS;
  }
}
