/** Which exits a trace holds, and what it holds besides. */
import { didYouMean, OptionError } from "../base/errors.ts";
import { exitNames } from "../kvm/exit.ts";
import type { ExitRecord, MapRange } from "../trace/format.ts";

/** What `vm.trace` is asked for. An exit has to pass every filter that is given. */
export interface TraceFilter {
  /** KVM_EXIT_ names without the prefix: "IO", "MMIO". */
  readonly reasons?: readonly string[];
  /** Names in `vm.map`, or "unclaimed" for accesses that no device answered. */
  readonly devices?: readonly string[];
  /** Ranges of I/O ports, first and last. */
  readonly ports?: readonly (readonly [first: number, last: number])[];
  readonly vcpus?: readonly number[];
  /** Adds registers and the bytes at RIP to each exit. Costs the guest some microseconds an exit. Default false. */
  readonly registers?: boolean;
  /** Adds `memory` records every so many ms, 100 for true. KVM then write-protects the guest's pages. Default false. */
  readonly memory?: boolean | { readonly everyMs: number };
}

/** A filter whose values can be. */
export interface CheckedFilter {
  matches(exit: ExitRecord): boolean;
  readonly registers: boolean;
  /** How often memory is sampled; undefined for never. */
  readonly memoryMs: number | undefined;
}

const DEFAULT_MEMORY_MS = 100;
const MAX_MEMORY_MS = 3_600_000;
const KEYS = ["reasons", "devices", "ports", "vcpus", "registers", "memory"];
const UNCLAIMED = "unclaimed";

/** @throws {OptionError} that names what cannot be, and what would do. */
export function checkFilter(filter: TraceFilter, map: readonly MapRange[], vcpus: number): CheckedFilter {
  for (const key of Object.keys(filter)) {
    if (!KEYS.includes(key)) throw new OptionError(`trace: unknown key "${key}"${didYouMean(key, KEYS)}`);
  }
  const reasons = words("reasons", filter.reasons, exitNames);
  const owners = new Set(map.filter(({ what }) => what === "device").map(({ name }) => name));
  const devices = words("devices", filter.devices, [...owners, UNCLAIMED]);
  const ports = list("ports", filter.ports);
  for (const range of ports ?? []) {
    const [first, last] = Array.isArray(range) && range.length === 2 ? range : [-1, -1];
    if (!isWhole(first, 0xffff) || !isWhole(last, 0xffff) || first > last) {
      throw new OptionError(
        `trace.ports: ${JSON.stringify(range)} is not a range [first, last] of ports from 0 to 65535`,
      );
    }
  }
  const cpus = list("vcpus", filter.vcpus);
  for (const cpu of cpus ?? []) {
    if (!isWhole(cpu, vcpus - 1)) {
      throw new OptionError(`trace.vcpus: there is no vCPU ${String(cpu)}; they are 0 to ${vcpus - 1}`);
    }
  }
  const { registers = false } = filter;
  if (typeof registers !== "boolean") {
    throw new OptionError(`trace.registers: ${String(registers)} is not true or false`);
  }
  return {
    matches: (exit) =>
      (reasons === undefined || reasons.includes(exit.reason)) &&
      (devices === undefined || devices.includes(exit.device ?? "")) &&
      (ports === undefined || isIn(ports, exit.port)) &&
      (cpus === undefined || cpus.includes(exit.vcpu)),
    registers,
    memoryMs: checkMemory(filter.memory),
  };
}

function checkMemory(memory: TraceFilter["memory"]): number | undefined {
  if (memory === undefined || memory === false) return undefined;
  if (memory === true) return DEFAULT_MEMORY_MS;
  const ms = typeof memory === "object" && memory !== null ? memory.everyMs : memory;
  if (!isWhole(ms, MAX_MEMORY_MS) || ms === 0) {
    throw new OptionError(
      `trace.memory: ${JSON.stringify(memory)}; give true, false or { everyMs: a whole number from 1 on }`,
    );
  }
  return ms;
}

function words(
  key: string,
  given: readonly string[] | undefined,
  known: readonly string[],
): readonly string[] | undefined {
  const all = list(key, given);
  for (const word of all ?? []) {
    if (known.includes(word)) continue;
    const what = key === "reasons" ? "reason" : "device";
    const advice = didYouMean(String(word), known);
    throw new OptionError(
      `trace.${key}: there is no ${what} "${String(word)}"${advice === "" ? `; there are ${known.join(", ")}` : advice}`,
    );
  }
  return all;
}

function list<T>(key: string, given: readonly T[] | undefined): readonly T[] | undefined {
  if (given === undefined || Array.isArray(given)) return given;
  throw new OptionError(`trace.${key}: ${JSON.stringify(given)} is not an array`);
}

function isWhole(value: unknown, most: number): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= most;
}

function isIn(ranges: readonly (readonly [number, number])[], port: number | undefined): boolean {
  return port !== undefined && ranges.some(([first, last]) => port >= first && port <= last);
}
