/**
 * What a power cycle gives to a trace: the exits that its vCPU threads record,
 * the pages that its guest writes, and KVM's own counters.
 */
import type { ThreadGroup } from "../threads/thread-group.ts";
import { TRACE_RING_BYTES, TraceReader } from "../threads/trace-ring.ts";
import type { ExitRecord, KernelCounters } from "../trace/format.ts";
import type { DirtyLog, DirtyReader } from "./dirty-log.ts";
import { decodeExit, type Spaces } from "./exit-decoder.ts";
import type { Hardware } from "./hardware.ts";

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
  readonly #hardware: Pick<Hardware, "vcpus" | "counters">;
  readonly #spaces: Spaces;
  readonly #dirty: DirtyLog;
  /** While pages are logged. */
  #pages: DirtyReader | undefined;
  /** By vCPU, once somebody traced. */
  #readers: readonly TraceReader[] = [];

  constructor(
    threads: ThreadGroup,
    hardware: Pick<Hardware, "vcpus" | "counters">,
    spaces: Spaces,
    dirty: DirtyLog,
  ) {
    this.#threads = threads;
    this.#hardware = hardware;
    this.#spaces = spaces;
    this.#dirty = dirty;
  }

  /** From now on exits are recorded, with registers and code if `state`. May be called again to change that. */
  start(state: boolean): void {
    if (this.#readers.length === 0) {
      const rings = this.#hardware.vcpus.map(() => new SharedArrayBuffer(TRACE_RING_BYTES));
      this.#readers = rings.map((ring, n) => new TraceReader(ring, this.#hardware.vcpus[n].times));
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

  /** Logs which pages are written, or no longer. @throws {KvmError} if KVM refuses to */
  logDirtyPages(on: boolean): void {
    this.#pages?.close();
    this.#pages = on ? this.#dirty.open() : undefined;
  }

  /** Pages that CPUs and devices wrote since the last call, by granule: see countDirty. */
  takeDirtyPages(): [granule: number, pages: number][] {
    return this.#pages === undefined ? [] : this.#dirty.count(this.#pages.take());
  }

  /** KVM's counters; undefined if the host's kernel has none. */
  counters(): CycleCounters | undefined {
    return this.#hardware.counters();
  }
}
