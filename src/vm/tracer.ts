/**
 * Feeds the traces of a machine: takes exits from the rings while a trace is
 * active, samples memory, and continues traces after a reset.
 */

import { PAGE } from "../base/units.ts";
import type { TraceFilter } from "../config/trace.ts";
import { GRANULE } from "../memory/dirty.ts";
import { RING_RECORDS } from "../threads/trace-ring.ts";
import type { KernelRecord, MapRange, MemoryRecord, TraceHeader } from "../trace/format.ts";
import { TRACE_VERSION } from "../trace/format.ts";
import type { MachineNetwork } from "./machine-network.ts";
import { NetworkTracer } from "./network-tracer.ts";
import { checkFilter } from "./trace-filter.ts";
import { Trace } from "./trace-stream.ts";
import type { TraceTap } from "./trace-tap.ts";

/** How often rings are emptied. They hold several times the exits that can occur in this time. */
const DRAIN_MS = 5;
/** The most granules in one memory record: keeps the lines of a trace file short. */
const GRANULES_PER_RECORD = 4096;

export interface TracedMachine {
  readonly name: string;
  readonly vcpus: number;
  readonly map: readonly MapRange[];
  readonly network: MachineNetwork;
}

export class Tracer {
  readonly #machine: TracedMachine;
  readonly #traces = new Set<Trace>();
  /** That of the present power cycle; undefined in the middle of a reset. */
  #tap: TraceTap | undefined;
  #cycle = -1;
  #drainTimer: NodeJS.Timeout | undefined;
  #memoryTimer: NodeJS.Timeout | undefined;
  #memoryMs: number | undefined;
  readonly #network: NetworkTracer;

  constructor(machine: TracedMachine) {
    this.#machine = machine;
    this.#network = new NetworkTracer(machine.network);
  }

  /** A power cycle begins; its guest has not run yet. */
  attach(tap: TraceTap): void {
    this.#tap = tap;
    this.#cycle++;
    if (this.#traces.size === 0) return;
    this.#memoryMs = undefined;
    this.#adjust();
    this.#tellCounters([...this.#traces]);
  }

  /** @throws {OptionError} for a wrong filter; {KvmError} if KVM refuses to log memory. */
  open(filter: TraceFilter): Trace {
    const { name, vcpus, map } = this.#machine;
    const checked = checkFilter(filter, map, vcpus);
    this.drain(); // earlier exits are for the other traces
    const header: TraceHeader = {
      kind: "trace",
      version: TRACE_VERSION,
      name,
      vcpus,
      startedAt: new Date().toISOString(),
      unit: "ns",
      map,
      registers: checked.registers,
    };
    const trace = new Trace(header, checked, clock(), (stopped) => this.#close(stopped));
    this.#traces.add(trace);
    try {
      this.#adjust();
    } catch (error) {
      this.#traces.delete(trace);
      this.#adjust();
      throw error;
    }
    this.#tellCounters([trace]);
    return trace;
  }

  /** Gives every trace the exits recorded so far. @param more see Trace.offer */
  drain(more = 0): void {
    for (const { record, lost } of this.#tap?.takeExits() ?? []) {
      for (const trace of this.#traces) trace.offer(record, lost, more);
    }
  }

  /** The power cycle's threads have ended and the rest still exists: takes the last records. */
  detach(): void {
    const tap = this.#tap;
    if (tap === undefined) return;
    this.drain(RING_RECORDS * this.#machine.vcpus);
    tap.lostSince().forEach((count, vcpu) => {
      for (const trace of this.#traces) trace.lose(vcpu, count);
    });
    this.#sampleMemory();
    this.#tellCounters([...this.#traces]);
    this.#tap = undefined;
  }

  /** The machine has ended. */
  finish(): void {
    this.#network.show([]);
    for (const trace of this.#traces) trace.finish(clock());
    this.#traces.clear();
    this.#adjust();
  }

  /** The reader of one trace stops it. */
  #close(trace: Trace): void {
    this.drain();
    this.#sampleMemory();
    this.#traces.delete(trace);
    this.#network.show([...this.#traces]);
    trace.finish(clock(), this.#counters());
    this.#adjust();
  }

  /** Starts or stops recording and sampling, as the present traces need it. */
  #adjust(): void {
    const traces = [...this.#traces];
    this.#network.show(traces);
    if (!traces.some(({ wantsExits }) => wantsExits)) {
      clearInterval(this.#drainTimer);
      this.#drainTimer = undefined;
      this.#tap?.stop();
    } else {
      this.#drainTimer ??= setInterval(() => this.drain(), DRAIN_MS).unref();
      this.#tap?.start(traces.some((trace) => trace.wantsRegisters));
    }
    const wanted = traces.map(({ memoryMs }) => memoryMs).filter((ms) => ms !== undefined);
    this.#adjustMemory(wanted.length === 0 ? undefined : Math.min(...wanted));
  }

  #adjustMemory(everyMs: number | undefined): void {
    if (everyMs === this.#memoryMs) return;
    const wasOff = this.#memoryMs === undefined;
    clearInterval(this.#memoryTimer);
    this.#memoryTimer = undefined;
    if (wasOff !== (everyMs === undefined)) this.#tap?.logDirtyPages(everyMs !== undefined);
    this.#memoryMs = everyMs;
    if (everyMs !== undefined) {
      this.#memoryTimer = setInterval(() => this.#sampleMemory(), everyMs).unref();
    }
  }

  #sampleMemory(): void {
    const readers = [...this.#traces].filter(({ memoryMs }) => memoryMs !== undefined);
    // KVM keeps the pages until every trace has room for the record.
    if (this.#tap === undefined || this.#memoryMs === undefined) return;
    if (readers.length === 0 || readers.some((trace) => !trace.hasRoom)) return;
    const now = clock();
    const dirty = this.#tap.takeDirtyPages();
    for (let at = 0; at < dirty.length; at += GRANULES_PER_RECORD) {
      const part = dirty.slice(at, at + GRANULES_PER_RECORD);
      for (const trace of readers) {
        trace.add(
          (t): MemoryRecord => ({ kind: "memory", t, page: PAGE, granule: GRANULE, dirty: part }),
          now,
        );
      }
    }
  }

  #tellCounters(traces: readonly Trace[]): void {
    const record = this.#counters();
    if (record === undefined) return;
    const now = clock();
    for (const trace of traces) trace.add(record, now);
  }

  #counters(): ((t: number) => KernelRecord) | undefined {
    const counters = this.#tap?.counters();
    if (counters === undefined) return undefined;
    const cycle = this.#cycle;
    return (t) => ({ kind: "kernel", t, cycle, ...counters });
  }
}

/** Now, in ns of CLOCK_MONOTONIC, as lapTimer measures it. */
function clock(): number {
  return Number(process.hrtime.bigint());
}
