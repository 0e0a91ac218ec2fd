/**
 * A trace, as its reader sees it: records in a queue of bounded length. If the
 * reader is too slow, exits are dropped, and a `dropped` record takes their
 * place.
 */
import type { DroppedRecord, ExitRecord, TraceHeader, TraceRecord } from "../trace/format.ts";
import type { CheckedFilter } from "./trace-filter.ts";

/** Records that wait for their reader. */
const QUEUE_LIMIT = 32_768;
/** Records of other kinds are still queued when exits no longer are: they are few. */
const OTHERS_LIMIT = 2 * QUEUE_LIMIT;
/** After so many records were taken, the queue releases their memory. */
const COMPACT_EVERY = 4096;

/** Yields one record at a time, for `for await`. Leaving the loop ends the trace. */
export class Trace implements AsyncIterableIterator<TraceRecord, undefined> {
  readonly #filter: CheckedFilter;
  readonly #origin: number;
  readonly #onStop: (trace: Trace) => void;
  /** Records from `#first` on. */
  #queue: TraceRecord[] = [];
  #first = 0;
  #waiting: ((result: IteratorResult<TraceRecord, undefined>) => void)[] = [];
  #done = false;
  #seq = 0;
  #exits = 0;
  #dropped = 0;
  #lostFrames = 0;
  /** By vCPU: dropped exits that no record has reported yet. */
  readonly #lost = new Map<number, number>();

  /**
   * Use VirtualMachine.trace.
   *
   * @param origin ns of CLOCK_MONOTONIC when t is 0
   * @param onStop must call `finish`
   */
  constructor(header: TraceHeader, filter: CheckedFilter, origin: number, onStop: (trace: Trace) => void) {
    this.#filter = filter;
    this.#origin = origin;
    this.#onStop = onStop;
    this.#push(header);
  }

  /** Waits for the next record. The last one is `end`. */
  next(): Promise<IteratorResult<TraceRecord, undefined>> {
    if (this.#first < this.#queue.length) {
      const value = this.#queue[this.#first++];
      if (this.#first === this.#queue.length || this.#first === COMPACT_EVERY) {
        this.#queue = this.#queue.slice(this.#first);
        this.#first = 0;
      }
      return Promise.resolve({ value, done: false });
    }
    if (this.#done) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Ends the trace: the records until now still come, then `end`. Does nothing if it has ended. */
  stop(): void {
    if (!this.#done) this.#onStop(this);
  }

  /** Ends the trace and discards its records; called when a `for await` loop is left. */
  return(): Promise<IteratorResult<TraceRecord, undefined>> {
    this.stop();
    this.#queue = [];
    this.#first = 0;
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  // The methods from here on are for the tracer.

  get wantsRegisters(): boolean {
    return this.#filter.registers;
  }

  get wantsExits(): boolean {
    return this.#filter.wantsExits;
  }

  get wantsNetwork(): boolean {
    return this.#filter.network;
  }

  get memoryMs(): number | undefined {
    return this.#filter.memoryMs;
  }

  /** False if the reader lags so far behind that exits would be dropped. */
  get hasRoom(): boolean {
    return this.#length < QUEUE_LIMIT;
  }

  /**
   * Adds an exit, or drops it if the queue is full.
   *
   * @param lost how many exits of the same vCPU were dropped before it, in the ring; they may or may not have
   *   passed the filter
   * @param more records that the queue may hold beyond its limit, at the end of a power cycle
   */
  offer(exit: ExitRecord, lost: number, more: number): void {
    const t = exit.t - this.#origin;
    if (t < 0) return; // from before this trace
    this.lose(exit.vcpu, lost);
    this.#seq++;
    if (!this.#filter.matches(exit)) return;
    if (this.#length >= QUEUE_LIMIT + more) {
      this.#lose(exit.vcpu, 1);
      return;
    }
    this.#tellLost(exit.vcpu, t);
    const own = { ...exit, seq: this.#seq, t };
    if (exit.regs === undefined || this.#filter.registers) this.#push(own);
    else {
      const { regs: _regs, code: _code, before: _before, ...plain } = own; // only another trace wanted these
      this.#push(plain);
    }
    this.#exits++;
  }

  /** Adds exits that were dropped in the ring. */
  lose(vcpu: number, count: number): void {
    if (count === 0) return;
    this.#seq += count;
    this.#lose(vcpu, count);
  }

  /** Adds a record of another kind; `now` in ns of CLOCK_MONOTONIC. */
  add(record: (t: number) => TraceRecord, now: number): void {
    if (this.#length < OTHERS_LIMIT) this.#push(record(Math.max(0, now - this.#origin)));
  }

  /** Adds what a network did, unless the reader is too slow; that is counted. */
  addNetwork(record: (t: number) => TraceRecord, now: number): void {
    if (this.#length >= QUEUE_LIMIT) this.#lostFrames++;
    else this.add(record, now);
  }

  /** Frames that were not shown to this trace either. */
  loseFrames(count: number): void {
    this.#lostFrames += count;
  }

  /** Adds `dropped` records, then `end`. @param last a record to add before those */
  finish(now: number, last?: (t: number) => TraceRecord): void {
    if (this.#done) return;
    const t = Math.max(0, now - this.#origin);
    for (const vcpu of [...this.#lost.keys()]) this.#tellLost(vcpu, t);
    if (last !== undefined) this.#push(last(t));
    const lost = this.#lostFrames === 0 ? {} : { lostFrames: this.#lostFrames };
    this.#push({ kind: "end", t, exits: this.#exits, dropped: this.#dropped, ...lost });
    this.#done = true;
    for (const resolve of this.#waiting.splice(0)) resolve({ value: undefined, done: true });
  }

  get #length(): number {
    return this.#queue.length - this.#first;
  }

  #lose(vcpu: number, count: number): void {
    this.#dropped += count;
    this.#lost.set(vcpu, (this.#lost.get(vcpu) ?? 0) + count);
  }

  #tellLost(vcpu: number, t: number): void {
    const count = this.#lost.get(vcpu);
    if (count === undefined) return;
    this.#lost.delete(vcpu);
    const record: DroppedRecord = { kind: "dropped", t, vcpu, count };
    this.#push(record);
  }

  #push(record: TraceRecord): void {
    const reader = this.#waiting.shift();
    if (reader === undefined) this.#queue.push(record);
    else reader({ value: record, done: false });
  }
}
