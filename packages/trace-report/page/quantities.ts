/** Times, sizes, counts and addresses as text. Knows no browser. */

const TIME_UNITS = [
  ["s", 1e9],
  ["ms", 1e6],
  ["µs", 1e3],
  ["ns", 1],
] as const;

const SIZE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A duration to three digits: "1.24 ms". */
export function duration(ns: number): string {
  if (ns === 0) return "0";
  const [unit, size] = TIME_UNITS.find(([, size]) => Math.abs(ns) >= size) ?? ["ns", 1];
  return `${significant(ns / size)} ${unit}`;
}

/** A point in time, as precise as a picture of `span` ns can show it: "1.0342 s". */
export function moment(ns: number, span: number): string {
  const [unit, size] = TIME_UNITS.find(([, size]) => ns >= size) ?? ["ns", 1];
  if (ns === 0) return "0";
  const step = span / 1000 / size;
  const digits = step >= 1 ? 0 : Math.min(9, Math.ceil(-Math.log10(step)));
  return `${trimmed((ns / size).toFixed(digits))} ${unit}`;
}

export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US").replaceAll(",", "\u202f");
}

/** A rate or a mean to three digits, with thousands separated. */
export function amount(value: number): string {
  return value >= 1000 ? count(value) : significant(value);
}

export function percent(part: number, whole: number): string {
  if (whole <= 0) return "–";
  const share = (100 * part) / whole;
  if (share > 0 && share < 0.1) return "< 0.1 %";
  return `${share >= 99.95 ? share.toFixed(0) : share.toFixed(1)} %`;
}

export function bytes(size: number): string {
  let unit = 0;
  let value = size;
  while (value >= 1024 && unit < SIZE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${trimmed(value.toFixed(value < 10 ? 2 : 1))} ${SIZE_UNITS[unit]}`;
}

export function hex(value: number, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

function significant(value: number): string {
  return trimmed(value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2));
}

/** Without trailing zeros. */
function trimmed(number: string): string {
  return number.includes(".") ? number.replace(/\.?0+$/, "") : number;
}
