/**
 * A trace for Perfetto (ui.perfetto.dev) and chrome://tracing: a track for each
 * vCPU, on which time in KVM_RUN and time outside alternate.
 *
 * Source: "Trace Event Format" (Google, 2016), the JSON array format: complete
 * events (X), instant events (i), counters (C) and metadata (M). Times are in
 * µs with three decimals. A truncated file lacks the closing bracket, which
 * readers of this format accept.
 *
 * Not included: KVM's own counters, registers.
 */
import { hex } from "../base/hex.ts";
import type { ExitRecord, TraceRecord } from "./format.ts";

const PROCESS = 1;

export class ChromeTrace {
  #first = true;

  /** The text that `record` adds to the file. */
  encode(record: TraceRecord): string {
    switch (record.kind) {
      case "trace": {
        const machine = { ph: "M", name: "process_name", pid: PROCESS, args: { name: record.name } };
        const process = this.#event(machine);
        const names = Array.from({ length: record.vcpus }, (_, vcpu) =>
          this.#event({
            ph: "M",
            name: "thread_name",
            pid: PROCESS,
            tid: vcpu,
            args: { name: `vCPU ${vcpu}` },
          }),
        );
        return `[\n${process}${names.join("")}`;
      }
      case "exit":
        return this.#exit(record);
      case "dropped": {
        const { t, vcpu, count } = record;
        const name = `${count} exits dropped`;
        return this.#event({ ph: "i", s: "t", name, pid: PROCESS, tid: vcpu, ts: micros(t) });
      }
      case "memory": {
        const pages = record.dirty.reduce((sum, [, count]) => sum + count, 0);
        return this.#event({
          ph: "C",
          name: "pages written",
          pid: PROCESS,
          ts: micros(record.t),
          args: { pages },
        });
      }
      case "frame": {
        const { t, card, direction, text, length } = record;
        const name = `${card} ${direction}`;
        return this.#event({ ph: "i", s: "p", name, pid: PROCESS, ts: micros(t), args: { text, length } });
      }
      case "connection": {
        const { t, card, protocol, target, verdict } = record;
        const name = `${card} ${protocol} ${target}: ${verdict}`;
        return this.#event({ ph: "i", s: "p", name, pid: PROCESS, ts: micros(t) });
      }
      case "kernel":
        return "";
      case "end":
        return "\n]\n";
    }
  }

  #exit(exit: ExitRecord): string {
    const { vcpu, t, inside, outside, reason, device, seq, rip, mode } = exit;
    // The first KVM_RUN may have begun before the trace.
    const entered = Math.max(0, t - inside);
    const place = { pid: PROCESS, tid: vcpu };
    const guest = {
      ph: "X",
      cat: "guest",
      name: "guest",
      ...place,
      ts: micros(entered),
      dur: micros(t - entered),
    };
    const { direction, port, address, size, count, values } = exit;
    const hexOf = (number: number | undefined) => (number === undefined ? undefined : hex(number));
    const host = {
      ...{ ph: "X", cat: "host", name: device === undefined ? reason : `${reason} ${device}`, ...place },
      ...{ ts: micros(t), dur: micros(outside) },
      args: { seq, rip, mode, direction, port: hexOf(port), address: hexOf(address), size, count, values },
    };
    return this.#event(guest) + this.#event(host);
  }

  #event(event: object): string {
    const separator = this.#first ? "" : ",\n";
    this.#first = false;
    return `${separator}${JSON.stringify(event)}`;
  }
}

/** ns as µs; three decimals are exact. */
function micros(ns: number): number {
  return Number((ns / 1000).toFixed(3));
}
