/** Headings, tables and units, the same in all demos. */
import type { Out } from "./demos.ts";

/** A heading between two parts of the output. */
export function heading(out: Out, text: string): void {
  out("");
  out(text);
  out("-".repeat(text.length));
}

/** Prints rows as columns, each as wide as its widest cell. Numbers are aligned to the right. */
export function table(out: Out, rows: readonly (readonly (string | number)[])[]): void {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) =>
    Math.max(...rows.map((row) => String(row[i] ?? "").length)),
  );
  const cell = (value: string | number, i: number) =>
    typeof value === "number" ? String(value).padStart(widths[i]) : value.padEnd(widths[i]);
  for (const row of rows) out(`  ${row.map(cell).join("  ")}`.trimEnd());
}

/** `0x00e9` for hex(0xe9, 4). */
export function hex(value: number | bigint, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

/** `'H'` for a printable byte, else its number. */
export function character(byte: number): string {
  return byte >= 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : hex(byte, 2);
}

/** Nanoseconds of a monotonic clock, for differences. */
export function now(): number {
  return Math.round(performance.now() * 1e6);
}

/** `12.3 µs`: a duration in ns, with a suitable unit. */
export function duration(ns: number): string {
  if (ns < 1_000) return `${Math.round(ns)} ns`;
  if (ns < 1_000_000) return `${(ns / 1_000).toFixed(1)} µs`;
  if (ns < 1_000_000_000) return `${(ns / 1_000_000).toFixed(1)} ms`;
  return `${(ns / 1_000_000_000).toFixed(2)} s`;
}

/** The middle one of some measurements. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
