/**
 * Checks whether a parsed line is a record of a trace. A trace file may come from
 * anywhere: an accepted record has the fields of its type, with finite numbers that
 * are not negative, and texts of bounded length.
 */
import { CPU_MODES, type Hex, REGISTER_NAMES, TRACE_VERSION, type TraceRecord } from "./format.ts";

/** Longer than any name of a device, a reason or a counter. */
const MAX_TEXT = 256;
/** Longer than the text of a frame with two names of 255 bytes. */
const MAX_LONG_TEXT = 2048;
const MAX_VCPUS = 4096;

type Check = (value: unknown) => boolean;
type Shape = Readonly<Record<string, Check>>;

const text: Check = (value) => typeof value === "string" && value.length <= MAX_TEXT;
const longText: Check = (value) => typeof value === "string" && value.length <= MAX_LONG_TEXT;
const number: Check = (value) => typeof value === "number" && Number.isFinite(value) && value >= 0;
const whole: Check = (value) => Number.isSafeInteger(value) && number(value);
const flag: Check = (value) => typeof value === "boolean";
const hex: Check = isHex;
const bytes: Check = (value) => typeof value === "string" && /^(?:[0-9a-f]{2}){0,16}$/.test(value);
const oneOf =
  (...words: readonly string[]): Check =>
  (value) =>
    typeof value === "string" && words.includes(value);
const list =
  (each: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(each);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const object =
  (shape: Shape): Check =>
  (value) =>
    isObject(value) && Object.entries(shape).every(([key, check]) => check(value[key]));
const counters: Check = (value) =>
  isObject(value) && Object.entries(value).every(([name, count]) => text(name) && number(count));
const pair: Check = (value) => Array.isArray(value) && value.length === 2 && value.every(whole);

const isHeader = object({
  version: (value) => value === TRACE_VERSION,
  name: text,
  vcpus: (value) => typeof value === "number" && whole(value) && value <= MAX_VCPUS,
  startedAt: text,
  unit: oneOf("ns"),
  map: list(
    object({
      space: oneOf("port", "memory"),
      name: text,
      address: whole,
      length: whole,
      what: oneOf("ram", "device"),
    }),
  ),
  registers: flag,
});

const RECORDS: ReadonlyMap<string, Check> = new Map([
  ["trace", isHeader],
  [
    "exit",
    object({
      seq: whole,
      vcpu: whole,
      t: number,
      reason: text,
      rip: hex,
      mode: oneOf(...CPU_MODES),
      direction: maybe(oneOf("in", "out", "read", "write")),
      port: maybe(whole),
      address: maybe(whole),
      size: maybe(whole),
      count: maybe(whole),
      values: maybe(list((value) => whole(value) || hex(value))),
      device: maybe(text),
      outside: number,
      inside: number,
      regs: maybe(object(Object.fromEntries(REGISTER_NAMES.map((name) => [name, hex])))),
      code: maybe(bytes),
      before: maybe(bytes),
    }),
  ],
  ["dropped", object({ t: number, vcpu: whole, count: whole })],
  ["memory", object({ t: number, page: whole, granule: whole, dirty: list(pair) })],
  ["kernel", object({ t: number, cycle: whole, vm: counters, vcpus: list(counters) })],
  ["frame", object({ t: number, card: text, direction: oneOf("in", "out"), length: whole, text: longText })],
  [
    "connection",
    object({
      t: number,
      card: text,
      protocol: text,
      target: longText,
      verdict: text,
      detail: maybe(longText),
    }),
  ],
  ["end", object({ t: number, exits: whole, dropped: whole, lostFrames: maybe(whole) })],
]);

/** True for a record of one of the kinds of this version. */
export function isTraceRecord(value: unknown): value is TraceRecord {
  return isObject(value) && typeof value.kind === "string" && RECORDS.get(value.kind)?.(value) === true;
}

/** True for a record of a kind that this version does not know. */
export function isUnknownKind(value: unknown): boolean {
  return isObject(value) && typeof value.kind === "string" && !RECORDS.has(value.kind);
}

function isHex(value: unknown): value is Hex {
  return typeof value === "string" && /^0x[0-9a-f]{1,16}$/.test(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
