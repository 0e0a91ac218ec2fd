/**
 * A trace in numbers: exits by reason and device, their durations, and the places in
 * the guest. Memory is bounded, however long the trace is.
 */
import type { ExitRecord, KernelCounters, KernelRecord, TraceHeader } from "./format.ts";
import { Histogram } from "./histogram.ts";
import { type CardCount, type ConnectionCount, NetworkCounting } from "./network-counting.ts";
import type { ReadRecord } from "./read.ts";
import type { Symbols } from "./symbols.ts";

/** Exits of one reason that one device answered. */
export interface SummaryRow {
  readonly reason: string;
  /** "" for reasons without a device. */
  readonly device: string;
  readonly count: number;
  /** ns outside the guest, in total. */
  readonly outside: number;
  /** The part of the vCPUs' time, from 0 to 1, outside the guest for these exits. */
  readonly share: number;
  /** ns outside the guest: the median, and the 99th percentile; accurate to 1.6 %. */
  readonly p50: number;
  readonly p99: number;
}

/** A port or address, and how many exits were for it. */
export interface PlaceCount {
  readonly space: "port" | "memory";
  readonly address: number;
  readonly device: string;
  readonly count: number;
}

export interface RipCount {
  readonly rip: string;
  /** `name+0x12`, if there are symbols and one matches. */
  readonly symbol?: string;
  readonly count: number;
}

export interface Summary {
  readonly name: string;
  readonly vcpus: number;
  readonly exits: number;
  readonly dropped: number;
  /** ns from the trace's beginning to its last record. */
  readonly duration: number;
  /** ns of all vCPUs: in KVM_RUN, and between two of them. */
  readonly inside: number;
  readonly outside: number;
  /** Most frequent first. */
  readonly rows: readonly SummaryRow[];
  readonly places: readonly PlaceCount[];
  readonly rips: readonly RipCount[];
  /** Absent in a trace without `network`. */
  readonly network?: {
    readonly cards: readonly CardCount[];
    readonly connections: readonly ConnectionCount[];
  };
  /** The change of KVM's counters; absent if the host's kernel has none, or they are cut off. */
  readonly kernel?: { readonly vm: KernelCounters; readonly vcpus: readonly KernelCounters[] };
  /** Why the symbols do not belong to the guest. */
  readonly symbolsMisfit?: string;
  /** Where the file is truncated. */
  readonly cut?: string;
}

/** The number of places and RIPs in a summary. */
const TOP = 10;

/** Different reasons and devices, ports, RIPs that are distinguished; no machine has so many. */
const MAX_ROWS = 1024;
const MAX_PLACES = 2 ** 16;
const MAX_RIPS = 2 ** 18;
const OTHERS = "(others)";

/** Reads a trace to its end. @throws errors of reading it. */
export async function summarize(records: AsyncIterable<ReadRecord>, symbols?: Symbols): Promise<Summary> {
  const counting = new Counting();
  for await (const record of records) counting.add(record);
  return counting.result(symbols);
}

interface Row {
  readonly reason: string;
  readonly device: string;
  readonly times: Histogram;
}

class Counting {
  #header: TraceHeader | undefined;
  #duration = 0;
  #exits = 0;
  #dropped = 0;
  #inside = 0;
  #outside = 0;
  #cut: string | undefined;
  readonly #rows = new Map<string, Row>();
  readonly #places = new Map<string, { -readonly [K in keyof PlaceCount]: PlaceCount[K] }>();
  readonly #rips = new Map<string, number>();
  readonly #network = new NetworkCounting();
  /** First and last counters of each power cycle. */
  readonly #kernel = new Map<number, { first: KernelRecord; last: KernelRecord }>();

  add(record: ReadRecord): void {
    switch (record.kind) {
      case "trace":
        this.#header = record;
        return;
      case "cut":
        this.#cut = record.message;
        return;
      case "exit":
        this.#exit(record);
        break;
      case "dropped":
        this.#dropped += record.count;
        break;
      case "frame":
      case "connection":
        this.#network.add(record);
        break;
      case "kernel": {
        const cycle = this.#kernel.get(record.cycle);
        if (cycle !== undefined) cycle.last = record;
        else if (this.#kernel.size < MAX_ROWS)
          this.#kernel.set(record.cycle, { first: record, last: record });
        break;
      }
    }
    this.#duration = Math.max(this.#duration, record.t);
  }

  result(symbols: Symbols | undefined): Summary {
    const time = this.#inside + this.#outside;
    const rows = [...this.#rows.values()].map(({ reason, device, times }) => ({
      reason,
      device,
      count: times.count,
      outside: times.sum,
      share: time === 0 ? 0 : times.sum / time,
      p50: times.percentile(50),
      p99: times.percentile(99),
    }));
    const seen = [...this.#rips.keys()].filter((rip) => rip !== OTHERS);
    const misfit = symbols?.misfit(seen.map(BigInt));
    const fitting = misfit === undefined ? symbols : undefined;
    const rips = [...this.#rips].map(([rip, count]) => {
      const symbol = rip === OTHERS ? undefined : fitting?.nameOf(BigInt(rip));
      return symbol === undefined ? { rip, count } : { rip, symbol, count };
    });
    const kernel = this.#counters();
    const network = this.#network.result(TOP);
    return {
      name: this.#header?.name ?? "",
      vcpus: this.#header?.vcpus ?? 0,
      exits: this.#exits,
      dropped: this.#dropped,
      duration: this.#duration,
      inside: this.#inside,
      outside: this.#outside,
      rows: rows.sort(byCount),
      places: [...this.#places.values()].sort(byCount).slice(0, TOP),
      rips: rips.sort(byCount).slice(0, TOP),
      ...(network === undefined ? {} : { network }),
      ...(kernel === undefined ? {} : { kernel }),
      ...(misfit === undefined ? {} : { symbolsMisfit: misfit }),
      ...(this.#cut === undefined ? {} : { cut: this.#cut }),
    };
  }

  #exit(exit: ExitRecord): void {
    this.#exits++;
    this.#inside += exit.inside;
    this.#outside += exit.outside;
    this.#row(exit.reason, exit.device ?? "").times.add(exit.outside);
    const rip = this.#rips.has(exit.rip) || this.#rips.size < MAX_RIPS ? exit.rip : OTHERS;
    this.#rips.set(rip, (this.#rips.get(rip) ?? 0) + 1);
    const space = exit.port === undefined ? "memory" : "port";
    const address = exit.port ?? exit.address;
    if (address === undefined) return;
    const key = `${space} ${address}`;
    const place = this.#places.get(key);
    if (place !== undefined) place.count++;
    else if (this.#places.size < MAX_PLACES) {
      this.#places.set(key, { space, address, device: exit.device ?? "", count: 1 });
    }
  }

  #row(reason: string, device: string): Row {
    const key = `${reason} ${device}`;
    const found = this.#rows.get(key);
    if (found !== undefined) return found;
    if (this.#rows.size >= MAX_ROWS && reason !== OTHERS) return this.#row(OTHERS, "");
    const row = { reason, device, times: new Histogram() };
    this.#rows.set(key, row);
    return row;
  }

  #counters(): Summary["kernel"] {
    if (this.#kernel.size === 0) return undefined;
    const vm: Record<string, number> = {};
    const vcpus: Record<string, number>[] = [];
    const add = (to: Record<string, number>, last: KernelCounters, first: KernelCounters | undefined) => {
      for (const [name, count] of Object.entries(last)) {
        to[name] = (to[name] ?? 0) + count - (first?.[name] ?? 0);
      }
    };
    for (const { first, last } of this.#kernel.values()) {
      add(vm, last.vm, first.vm);
      last.vcpus.forEach((counters, index) => {
        vcpus[index] ??= {};
        add(vcpus[index], counters, first.vcpus[index]);
      });
    }
    return { vm, vcpus };
  }
}

function byCount(a: { readonly count: number }, b: { readonly count: number }): number {
  return b.count - a.count;
}
