/**
 * Adds up a trace, one record at a time, for a report.
 *
 * Memory does not grow with the trace: time and addresses are counted in grids of
 * fixed size, names beyond a limit become "others", and single exits are stored for
 * one window only.
 */
import type { ExitRecord, KernelCounters, KernelRecord, ReadRecord, TraceHeader } from "vmexit/trace";
import { Histogram } from "vmexit/trace";
import { DeviceMap } from "./device-map.ts";
import { DurationHistogram, durationEdges } from "./duration-histogram.ts";
import { ExitTree } from "./exit-tree.ts";
import { BinScale } from "./growing-bins.ts";
import { NetworkRecorder } from "./network-recorder.ts";
import {
  type Counter,
  type KernelCounters as KernelTable,
  type Lane,
  MAX_LANES,
  MAX_REASONS,
  type ReasonRow,
  type ReportData,
} from "./report-data.ts";
import type { StepRange } from "./step-range.ts";
import { StepRecorder } from "./step-recorder.ts";
import { TouchedMemory } from "./touched-memory.ts";

const OTHERS = "others";
/** A hundred days, in ns: no real trace has later times or longer durations. */
const LATEST = 2 ** 53;

/** The sums for one exit reason. */
class Reason {
  readonly name: string;
  readonly bins: Float64Array;
  readonly durations = new DurationHistogram();
  readonly percentiles = new Histogram();
  exits = 0;
  inside = 0;
  outside = 0;

  constructor(name: string, bins: Float64Array) {
    this.name = name;
    this.bins = bins;
  }

  toRow(): ReasonRow {
    const { name, exits, inside, outside, percentiles } = this;
    return { name, exits, inside, outside, p50: percentiles.percentile(50), p99: percentiles.percentile(99) };
  }
}

/** The time of one vCPU. */
interface LaneSums {
  readonly guest: Float64Array;
  /** By reason, in the order of first appearance. */
  readonly host: Float64Array[];
  /** The time at which its last exit ended: nothing later may begin before it. */
  end: number;
}

export class ReportBuilder {
  readonly #scale = new BinScale();
  readonly #reasons: Reason[] = [];
  readonly #lanes = new Map<number, LaneSums>();
  readonly #tree = new ExitTree();
  readonly #memory = new TouchedMemory();
  readonly #network = new NetworkRecorder();
  readonly #steps: StepRecorder;
  #header: TraceHeader | undefined;
  #map = new DeviceMap([]);
  #firstKernel: KernelRecord | undefined;
  #lastKernel: KernelRecord | undefined;
  #duration = 0;
  #dropped = 0;
  #cut: string | undefined;

  constructor(range: StepRange) {
    this.#steps = new StepRecorder(range);
  }

  add(record: ReadRecord): void {
    if (record.kind === "cut") {
      this.#cut = record.message;
      return;
    }
    if (record.kind === "trace") {
      this.#header = record;
      this.#map = new DeviceMap(record.map);
      return;
    }
    this.#duration = Math.max(this.#duration, Math.min(record.t, LATEST));
    switch (record.kind) {
      case "exit":
        this.#addExit(possible(record));
        break;
      case "dropped":
        this.#dropped += record.count;
        break;
      case "memory":
        this.#memory.add(Math.min(record.t, LATEST), record.page, record.granule, record.dirty);
        break;
      case "frame":
      case "connection":
        this.#network.add(record);
        break;
      case "kernel":
        // A reset starts the counters again.
        if (this.#lastKernel?.cycle !== record.cycle) this.#firstKernel = record;
        this.#lastKernel = record;
        break;
      case "end":
        this.#dropped = Math.max(this.#dropped, record.dropped);
        this.#network.lost = record.lostFrames ?? 0;
    }
  }

  build(): ReportData {
    const rows = this.#reasons.map((reason, first) => ({ reason, first }));
    const isRest = (name: string) => (name === OTHERS ? 1 : 0);
    rows.sort((a, b) => isRest(a.reason.name) - isRest(b.reason.name) || b.reason.exits - a.reason.exits);
    const order = rows.map(({ first }) => first);
    const reasons = rows.map(({ reason }) => reason);
    const sum = (what: "exits" | "inside" | "outside") =>
      reasons.reduce((total, reason) => total + reason[what], 0);
    const bins = this.#scale.binOf(this.#duration) + 1;
    const memory = this.#memory.toData();
    const network = this.#network.toData();
    const kernel = kernelTable(this.#firstKernel, this.#lastKernel);
    return {
      name: this.#header?.name ?? "",
      startedAt: this.#header?.startedAt ?? "",
      vcpus: this.#header?.vcpus ?? 0,
      duration: this.#duration,
      exits: sum("exits"),
      dropped: this.#dropped,
      ...(this.#cut !== undefined && { cut: this.#cut }),
      inside: sum("inside"),
      outside: sum("outside"),
      reasons: reasons.map((reason) => reason.toRow()),
      timeline: {
        width: this.#scale.width,
        exits: reasons.map((reason) => rounded(reason.bins, bins)),
        lanes: [...this.#lanes]
          .sort(([a], [b]) => a - b)
          .map(([vcpu, lane]) => toLane(vcpu, lane, order, bins)),
      },
      tree: this.#tree.toNode(),
      durations: {
        edges: durationEdges(),
        exits: reasons.map(({ durations }) => Array.from(durations.counts)),
        time: reasons.map(({ durations }) => Array.from(durations.sums, Math.round)),
      },
      ...(memory !== undefined && { memory }),
      map: this.#map.rows(),
      ...(kernel !== undefined && { kernel }),
      ...(network !== undefined && { network }),
      steps: this.#steps.build((first) => order.indexOf(first)),
    };
  }

  #addExit(exit: ExitRecord): void {
    const index = this.#reasonOf(exit.reason);
    const reason = this.#reasons[index];
    reason.exits++;
    reason.inside += exit.inside;
    reason.outside += exit.outside;
    reason.durations.add(exit.outside);
    reason.percentiles.add(exit.outside);
    reason.bins[this.#scale.binOf(exit.t)]++;
    this.#duration = Math.max(this.#duration, exit.t + exit.outside);
    this.#addTime(exit, index);
    const place = this.#map.find(exit);
    const path = [reason.name];
    if (exit.device !== undefined) path.push(exit.device);
    if (place !== undefined) path.push(place.label);
    this.#tree.add(path, exit.outside);
    this.#steps.add(exit, index, place?.register);
  }

  #addTime(exit: ExitRecord, reason: number): void {
    const lane = this.#laneOf(exit.vcpu);
    if (lane === undefined) return;
    // A vCPU has one exit at a time. This also bounds the work for a file that contradicts it.
    this.#scale.addSpan(lane.guest, Math.max(exit.t - exit.inside, lane.end), exit.t);
    const end = exit.t + exit.outside;
    lane.host[reason] ??= this.#scale.series();
    this.#scale.addSpan(lane.host[reason], Math.max(exit.t, lane.end), end);
    lane.end = Math.max(lane.end, end);
  }

  #reasonOf(name: string): number {
    const known = this.#reasons.findIndex((reason) => reason.name === name);
    if (known >= 0) return known;
    const isFull = this.#reasons.length >= MAX_REASONS - 1;
    if (isFull && name !== OTHERS) return this.#reasonOf(OTHERS);
    return this.#reasons.push(new Reason(name, this.#scale.series())) - 1;
  }

  #laneOf(vcpu: number): LaneSums | undefined {
    let lane = this.#lanes.get(vcpu);
    if (lane === undefined && this.#lanes.size < MAX_LANES) {
      lane = { guest: this.#scale.series(), host: [], end: 0 };
      this.#lanes.set(vcpu, lane);
    }
    return lane;
  }
}

/** The exit, with times limited to plausible values. */
function possible(exit: ExitRecord): ExitRecord {
  const { t, inside, outside } = exit;
  if (t <= LATEST && inside <= LATEST && outside <= LATEST) return exit;
  const least = (ns: number) => Math.min(ns, LATEST);
  return { ...exit, t: least(t), inside: least(inside), outside: least(outside) };
}

function toLane(vcpu: number, lane: LaneSums, order: readonly number[], bins: number): Lane {
  const nothing = new Float64Array(bins);
  return {
    vcpu,
    guest: rounded(lane.guest, bins),
    host: order.map((first) => rounded(lane.host[first] ?? nothing, bins)),
  };
}

function rounded(values: Float64Array, count: number): number[] {
  return Array.from(values.subarray(0, count), Math.round);
}

/** Counters at the end, and their growth since the trace or the machine's last power cycle began. */
function kernelTable(first?: KernelRecord, last?: KernelRecord): KernelTable | undefined {
  if (first === undefined || last === undefined) return undefined;
  const table = (counters: KernelCounters, before: KernelCounters = {}): Counter[] =>
    Object.entries(counters).map(([name, value]) => {
      const then = first === last ? 0 : (before[name] ?? 0);
      return { name, value, during: Math.max(0, value - then) };
    });
  return {
    t: last.t,
    resets: last.cycle,
    vm: table(last.vm, first.vm),
    vcpus: last.vcpus.slice(0, MAX_LANES).map((counters, n) => table(counters, first.vcpus[n])),
  };
}
