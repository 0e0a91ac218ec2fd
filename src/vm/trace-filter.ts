/** Which exits a trace contains, and what else it contains. */
import { OptionError } from "../base/errors.ts";
import { fill } from "../config/schema.ts";
import { TRACE, type TraceFilter } from "../config/trace.ts";
import { words } from "../config/value.ts";
import { exitNames } from "../kvm/exit.ts";
import type { ExitRecord, MapRange } from "../trace/format.ts";

/** A checked filter. */
export interface CheckedFilter {
  matches(exit: ExitRecord): boolean;
  /** False: none matches, so that none needs to be recorded. */
  readonly wantsExits: boolean;
  readonly registers: boolean;
  /** The interval of memory samples in ms; undefined without samples. */
  readonly memoryMs: number | undefined;
  readonly network: boolean;
}

const DEFAULT_MEMORY_MS = 100;
const UNCLAIMED = "unclaimed";

/** @throws {OptionError} that names the wrong value and the possible ones. */
export function checkFilter(filter: TraceFilter, map: readonly MapRange[], vcpus: number): CheckedFilter {
  const { reasons, devices, ports, vcpus: cpus, registers, memory, network } = fill(TRACE, filter, "trace");
  const owners = new Set(map.filter(({ what }) => what === "device").map(({ name }) => name));
  checkNames("reasons", reasons, exitNames);
  checkNames("devices", devices, [...owners, UNCLAIMED]);
  const absent = cpus?.find((cpu) => cpu >= vcpus);
  if (absent !== undefined) {
    throw new OptionError(`trace.vcpus: there is no vCPU ${absent}; the last one is ${vcpus - 1}`);
  }
  return {
    matches: (exit) =>
      (reasons === undefined || reasons.includes(exit.reason)) &&
      (devices === undefined || devices.includes(exit.device ?? "")) &&
      (ports === undefined || isIn(ports, exit.port)) &&
      (cpus === undefined || cpus.includes(exit.vcpu)),
    wantsExits: reasons === undefined || reasons.length > 0,
    network,
    registers,
    memoryMs: typeof memory === "object" ? memory.everyMs : memory ? DEFAULT_MEMORY_MS : undefined,
  };
}

function checkNames(option: string, given: readonly string[] | undefined, known: readonly string[]): void {
  for (const name of given ?? []) {
    words(known).check(name, (sentence) => new OptionError(`trace.${option}: ${sentence}`));
  }
}

function isIn(ranges: readonly (readonly [number, number])[], port: number | undefined): boolean {
  return port !== undefined && ranges.some(([first, last]) => port >= first && port <= last);
}
