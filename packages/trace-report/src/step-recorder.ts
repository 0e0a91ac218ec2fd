/** Stores a window of exits, one by one, in a compact form for the page. */
import { type ExitRecord, REGISTER_NAMES, type TraceRegisters } from "vmexit/trace";
import { Disassembly } from "./disassembly.ts";
import type { Access, Step, StepWindow } from "./report-data.ts";
import type { StepRange } from "./step-range.ts";

/** Elements of a `rep` that are stored. */
const MAX_VALUES = 16;

export class StepRecorder {
  readonly #range: StepRange;
  readonly #steps: Step[] = [];
  readonly #code = new Disassembly();
  /** The registers of each vCPU at its last step. */
  readonly #last = new Map<number, TraceRegisters>();

  constructor(range: StepRange) {
    this.#range = range;
  }

  /** @param reason an index that `build` translates */
  add(exit: ExitRecord, reason: number, register: string | undefined): void {
    if (exit.seq < this.#range.from || this.#steps.length >= this.#range.count) return;
    const { seq, vcpu, t, inside, outside, rip, mode, device } = exit;
    const access = accessOf(exit);
    const changed = this.#changed(exit);
    const code = this.#code.listingOf(exit);
    this.#steps.push({
      seq,
      vcpu,
      t,
      inside,
      outside,
      reason,
      rip,
      mode,
      ...(access !== undefined && { access }),
      ...(device !== undefined && { device }),
      ...(register !== undefined && { register }),
      ...(changed !== undefined && { changed }),
      ...(code !== undefined && { code }),
    });
  }

  build(reasonOf: (reason: number) => number): StepWindow {
    return {
      registers: this.#last.size > 0,
      steps: this.#steps.map((step) => ({ ...step, reason: reasonOf(step.reason) })),
      listings: this.#code.listings,
    };
  }

  #changed({ vcpu, regs }: ExitRecord): Record<string, string> | undefined {
    if (regs === undefined) return undefined;
    const last = this.#last.get(vcpu);
    this.#last.set(vcpu, regs);
    const changed: Record<string, string> = {};
    for (const name of REGISTER_NAMES) {
      if (last?.[name] !== regs[name]) changed[name] = regs[name];
    }
    return changed;
  }
}

function accessOf(exit: ExitRecord): Access | undefined {
  const { direction, port, address = port, size = 0, count = 1, values = [] } = exit;
  if (direction === undefined || address === undefined) return undefined;
  const space = port === undefined ? "memory" : "port";
  return { space, direction, address, size, count, values: values.slice(0, MAX_VALUES) };
}
