/**
 * The data that traces read from a power cycle: the exits that its vCPU threads
 * record, the pages that its guest writes, and KVM's counters.
 */
import type { ThreadGroup } from "../threads/thread-group.ts";
import { TRACE_RING_BYTES, TraceReader } from "../threads/trace-ring.ts";
import type { ExitRecord, KernelCounters } from "../trace/format.ts";
import type { DirtyLog, DirtyReader } from "./dirty-log.ts";
import { decodeExit, type Spaces } from "./exit-decoder.ts";
import type { Hardware } from "./hardware.ts";

/** An exit, and how many exits of the same vCPU were dropped before it. */
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
  /** By vCPU, once there was a trace. */
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

  /** Starts recording exits, with registers and code if `state`. May be called again to change that. */
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

  /** Takes the exits that were recorded since the last call, in the order of time as far as it is known. */
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

  /** By vCPU: exits that were dropped after the last one taken. Only when the threads have ended. */
  lostSince(): number[] {
    return this.#readers.map((reader) => reader.lostSince);
  }

  /** Starts or stops logging which pages are written. @throws {KvmError} if KVM refuses */
  logDirtyPages(on: boolean): void {
    this.#pages?.close();
    this.#pages = on ? this.#dirty.open() : undefined;
  }

  /** Pages that CPUs and devices wrote since the last call, by granule: see countDirty. */
  takeDirtyPages(): [granule: number, pages: number][] {
    return this.#pages === undefined ? [] : this.#dirty.count(this.#pages.take());
  }

  /** KVM's counters; undefined if the host's kernel has no such counters. */
  counters(): CycleCounters | undefined {
    return this.#hardware.counters();
  }
}
