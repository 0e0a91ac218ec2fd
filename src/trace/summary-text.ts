/** A summary for people: tables of plain text. */
import { hex } from "../base/hex.ts";
import type { KernelCounters } from "./format.ts";
import type { Summary } from "./summary.ts";

/** The explanation that belongs to every count of exits. */
const WHAT_IS_COUNTED = `The exits are returns of KVM_RUN. The host's kernel handles most hardware exits itself (second-level
page faults, CPUID, MSRs, HLT, hypercalls): they are only in KVM's own counters, at the end.`;

/** KVM's counters that are shown first, if they are not 0. */
const KERNEL_FIRST = [
  "exits",
  "io_exits",
  "mmio_exits",
  "halt_exits",
  "pf_taken",
  "irq_exits",
  "irq_injections",
];

export function summaryText(summary: Summary): string {
  const parts = [head(summary), `${WHAT_IS_COUNTED}\n`, rowsText(summary)];
  if (summary.places.length > 0) parts.push(placesText(summary));
  if (summary.rips.length > 0) parts.push(ripsText(summary));
  if (summary.network !== undefined) parts.push(networkText(summary.network));
  parts.push(kernelText(summary));
  if (summary.cut !== undefined) parts.push(`${summary.cut}\n`);
  return parts.join("\n");
}

function head({ name, vcpus, exits, dropped, duration, inside, outside }: Summary): string {
  const time = inside + outside;
  const part = (ns: number) => (time === 0 ? "0 %" : `${((100 * ns) / time).toFixed(1)} %`);
  const lost = dropped === 0 ? "none dropped" : `${dropped} more dropped: the trace was written too slowly`;
  return [
    `${name}: ${exits} exits of ${vcpus} vCPU${vcpus === 1 ? "" : "s"} in ${milliseconds(duration)}; ${lost}`,
    `the vCPUs' time: ${part(inside)} in KVM_RUN (${milliseconds(inside)}), ${part(outside)} outside (${milliseconds(outside)})`,
    "",
  ].join("\n");
}

function rowsText({ rows }: Summary): string {
  return table(
    ["reason", "device", "exits", "share of time", "p50 ns", "p99 ns outside the guest"],
    rows.map(({ reason, device, count, share, p50, p99 }) => [
      reason,
      device,
      String(count),
      `${(100 * share).toFixed(2)} %`,
      String(p50),
      String(p99),
    ]),
    2,
  );
}

function placesText({ places }: Summary): string {
  return table(
    ["most used", "device", "exits"],
    places.map(({ space, address, device, count }) => [`${space} ${hex(address)}`, device, String(count)]),
    2,
  );
}

function ripsText({ rips, symbolsMisfit }: Summary): string {
  const rows = rips.map(({ rip, symbol, count }) => [rip, symbol ?? "", String(count)]);
  const misfit = symbolsMisfit === undefined ? "" : `The symbols do not fit: ${symbolsMisfit}.\n`;
  return `${table(["most frequent RIP", "", "exits"], rows, 2)}${misfit}`;
}

function networkText({ cards, connections }: NonNullable<Summary["network"]>): string {
  const frames = table(
    ["network card", "frames out", "bytes", "frames in", "bytes"],
    cards.map(({ card, framesOut, bytesOut, framesIn, bytesIn }) => [
      card,
      ...[framesOut, bytesOut, framesIn, bytesIn].map(String),
    ]),
    1,
  );
  if (connections.length === 0) return frames;
  const rows = connections.map(({ protocol, target, verdict, count }) => [
    protocol,
    target,
    verdict,
    String(count),
  ]);
  return `${frames}\n${table(["protocol", "to", "the network's answer", "times"], rows, 3)}`;
}

function kernelText({ kernel }: Summary): string {
  if (kernel === undefined) return "KVM's own counters are not in this trace.\n";
  const total: Record<string, number> = {};
  for (const counters of kernel.vcpus) {
    for (const [name, count] of Object.entries(counters)) total[name] = (total[name] ?? 0) + count;
  }
  const rows = [...counterRows("vCPUs", total), ...counterRows("VM", kernel.vm)];
  if (rows.length === 0) return "KVM counted nothing meanwhile.\n";
  return table(["KVM's own counters", "of", "count"], rows, 2);
}

function counterRows(owner: string, counters: KernelCounters): string[][] {
  const place = (name: string) =>
    KERNEL_FIRST.includes(name) ? KERNEL_FIRST.indexOf(name) : KERNEL_FIRST.length;
  return Object.entries(counters)
    .filter(([, count]) => count !== 0)
    .sort(([a], [b]) => place(a) - place(b) || (a < b ? -1 : 1))
    .map(([name, count]) => [name, owner, String(count)]);
}

/** @param left the number of left-aligned columns; numbers are right-aligned */
function table(heads: readonly string[], rows: readonly (readonly string[])[], left: number): string {
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column].length)));
  return [heads, ...rows]
    .map((row) => {
      const cells = row.map((cell, column) =>
        column < left ? cell.padEnd(widths[column]) : cell.padStart(widths[column]),
      );
      return `${cells.join("  ").trimEnd()}\n`;
    })
    .join("");
}

function milliseconds(ns: number): string {
  return `${(ns / 1e6).toFixed(3)} ms`;
}
