/**
 * What a power cycle gives to a trace: the exits that its vCPU threads record,
 * the pages that its guest writes, and KVM's own counters.
 */
import type { ThreadGroup } from "../threads/thread-group.ts";
import { TRACE_RING_BYTES, TraceReader } from "../threads/trace-ring.ts";
import type { ExitRecord, KernelCounters } from "../trace/format.ts";
import type { Board } from "./board.ts";
import { decodeExit, type Spaces } from "./exit-decoder.ts";

/** An exit, and how many of the same vCPU are missing before it. */
export interface TakenExit {
  readonly record: ExitRecord;
  readonly lost: number;
}

/** KVM's counters since the power cycle began. */
export interface CycleCounters {
  readonly vm: KernelCounters;
  readonly vcpus: readonly KernelCounters[];
}

export class TraceTap {
  readonly #threads: ThreadGroup;
  readonly #board: Board;
  readonly #spaces: Spaces;
  /** By vCPU, once somebody traced. */
  #readers: readonly TraceReader[] = [];

  constructor(threads: ThreadGroup, board: Board, spaces: Spaces) {
    this.#threads = threads;
    this.#board = board;
    this.#spaces = spaces;
  }

  /** From now on exits are recorded, with registers and code if `state`. May be called again to change that. */
  start(state: boolean): void {
    if (this.#readers.length === 0) {
      const rings = this.#board.vcpus.map(() => new SharedArrayBuffer(TRACE_RING_BYTES));
      this.#readers = rings.map((ring, n) => new TraceReader(ring, this.#board.vcpus[n].times));
      this.#threads.send(rings.map((ring) => ({ kind: "trace", ring })));
    }
    for (const reader of this.#readers) reader.wantState(state);
    this.#threads.trace(true);
  }

  stop(): void {
    this.#threads.trace(false);
  }

  /** Takes what was recorded since the last call; in the order of time as far as it is known yet. */
  takeExits(): TakenExit[] {
    const taken: TakenExit[] = [];
    this.#readers.forEach((reader, vcpu) => {
      while (reader.next()) {
        taken.push({ record: decodeExit(reader, vcpu, this.#spaces), lost: reader.lost });
        reader.take();
      }
    });
    return this.#readers.length > 1 ? taken.sort((a, b) => a.record.t - b.record.t) : taken;
  }

  /** By vCPU: exits that are missing after the last one taken. Once the threads are gone. */
  lostSince(): number[] {
    return this.#readers.map((reader) => reader.lostSince);
  }

  logDirtyPages(on: boolean): void {
    this.#board.logDirtyPages(on);
  }

  /** See Board.takeDirtyPages. */
  takeDirtyPages(): [granule: number, pages: number][] {
    return this.#board.takeDirtyPages();
  }

  /** KVM's counters; undefined if the host's kernel has none. */
  counters(): CycleCounters | undefined {
    return this.#board.counters();
  }
}
