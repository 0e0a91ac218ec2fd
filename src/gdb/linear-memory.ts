/**
 * Memory as a program of the guest sees it, through the page tables of one CPU,
 * page by page. The bytes of breakpoints are hidden.
 */
import { PAGE } from "../base/units.ts";
import type { SoftwareBreakpoints } from "./software-breakpoints.ts";
import type { DebugTarget } from "./target.ts";

export interface Run {
  readonly physical: number;
  readonly length: number;
}

/** The mapped beginning of `length` bytes at linear `address`, in runs within a page. */
function runsOf(target: DebugTarget, cpu: number, address: bigint, length: number): Run[] {
  const runs: Run[] = [];
  for (let done = 0; done < length; ) {
    const linear = BigInt.asUintN(64, address + BigInt(done));
    const run = Math.min(length - done, PAGE - Number(linear & 0xfffn));
    const physical = target.translate(cpu, linear);
    if (physical === undefined) break;
    runs.push({ physical, length: run });
    done += run;
  }
  return runs;
}

/** Reads up to `length` bytes at `address`: fewer if a later page is not mapped or is not RAM. */
export function readLinear(
  target: DebugTarget,
  breakpoints: SoftwareBreakpoints,
  cpu: number,
  address: bigint,
  length: number,
): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  for (const run of runsOf(target, cpu, address, length)) {
    const part = target.readMemory(run.physical, run.length);
    if (part === undefined) break;
    breakpoints.hide(run.physical, part);
    bytes.set(part, done);
    done += run.length;
  }
  return bytes.subarray(0, done);
}

/** False, and nothing is written, unless all of it is mapped RAM. Permissions of the guest's page tables are ignored. */
export function writeLinear(
  target: DebugTarget,
  breakpoints: SoftwareBreakpoints,
  cpu: number,
  address: bigint,
  bytes: Uint8Array,
): boolean {
  const runs = runsOf(target, cpu, address, bytes.length);
  const mapped = runs.reduce((sum, run) => sum + run.length, 0);
  const isRam = runs.every(({ physical, length }) => target.readMemory(physical, length) !== undefined);
  if (mapped < bytes.length || !isRam) return false;
  let done = 0;
  for (const { physical, length } of runs) {
    const part = bytes.slice(done, done + length);
    breakpoints.keep(physical, part);
    target.writeMemory(physical, part);
    done += length;
  }
  return true;
}
