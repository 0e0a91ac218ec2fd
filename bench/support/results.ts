/**
 * The results of a benchmark: pairs of numbers, ours and a peer's, measured in
 * alternation in one run. They are printed as a table, and written as JSON for
 * programs.
 */
import { writeFileSync } from "node:fs";

export interface Result {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer: number;
  readonly peerName: string;
  /** ours / peer */
  readonly ratio: number;
  readonly better: "lower" | "higher";
  /** The ratio to reach: at most this where lower is better, at least this where higher is. Null: for information. */
  readonly goal: number | null;
}

/** One number, or those of several rounds, of which the median counts. */
export type Samples = number | readonly number[];

export function median(samples: Samples): number {
  if (typeof samples === "number") return samples;
  if (samples.length === 0) return Number.NaN;
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export class Results {
  readonly #results: Result[] = [];

  add(
    what: string,
    unit: string,
    samples: { readonly ours: Samples; readonly peer: Samples; readonly peerName: string },
    judged: { readonly better?: "lower" | "higher"; readonly goal?: number } = {},
  ): void {
    const ours = median(samples.ours);
    const peer = median(samples.peer);
    const { better = "lower", goal = null } = judged;
    this.#results.push({
      what,
      unit,
      ours,
      peer,
      peerName: samples.peerName,
      ratio: ours / peer,
      better,
      goal,
    });
  }

  /** Prints the table, and writes the file named by `--json FILE`. */
  finish(argv: readonly string[] = process.argv.slice(2)): void {
    const rows = this.#results.map((result) => [
      result.what,
      result.unit,
      amount(result.ours),
      amount(result.peer),
      result.ratio.toFixed(2),
      verdict(result),
      result.peerName,
    ]);
    process.stdout.write(table([["", "unit", "ours", "peer", "ratio", "goal", "peer is"], ...rows]));
    const at = argv.indexOf("--json");
    if (at >= 0) writeFileSync(argv[at + 1], `${JSON.stringify(this.#results, null, 2)}\n`);
  }
}

function verdict({ ratio, better, goal }: Result): string {
  if (goal === null) return "";
  const met = better === "lower" ? ratio <= goal : ratio >= goal;
  return `${better === "lower" ? "<=" : ">="} ${goal.toFixed(2)} ${met ? "met" : "MISSED"}`;
}

/** Three significant digits, without an exponent. */
export function amount(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

/** Columns as wide as their widest cell; numbers are aligned to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    row.map((cell, column) =>
      /^-?[\d.]+$/.test(cell) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]),
    );
  return rows.map((row) => `${line(row).join("  ").trimEnd()}\n`).join("");
}
