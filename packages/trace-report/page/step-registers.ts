/** The registers at each step: the data has only the changes from one step to the next. */
import type { Step } from "../src/report-data.ts";

export type Registers = Readonly<Record<string, string>>;

/** Steps between two complete sets of registers. */
const STRIDE = 256;

export class StepRegisters {
  readonly #steps: readonly Step[];
  /** Positions of each vCPU's steps, in order; and the place of each step in that order. */
  readonly #ofVcpu = new Map<number, number[]>();
  readonly #place: number[];
  /** The registers at every STRIDE-th step of a vCPU, so that no step is far from a complete set. */
  readonly #known = new Map<number, Registers>();

  constructor(steps: readonly Step[]) {
    this.#steps = steps;
    const latest = new Map<number, Registers>();
    this.#place = steps.map((step, index) => {
      const own = this.#ofVcpu.get(step.vcpu) ?? [];
      this.#ofVcpu.set(step.vcpu, own);
      const place = own.push(index) - 1;
      const registers = { ...latest.get(step.vcpu), ...step.changed };
      latest.set(step.vcpu, registers);
      if (place % STRIDE === 0) this.#known.set(index, registers);
      return place;
    });
  }

  /** Undefined if the trace has no registers there. */
  at(index: number): Registers | undefined {
    const step = this.#steps[index];
    if (step?.changed === undefined) return undefined;
    const own = this.#ofVcpu.get(step.vcpu) ?? [];
    const place = this.#place[index];
    const start = place - (place % STRIDE);
    const registers = { ...this.#known.get(own[start]) };
    for (const each of own.slice(start + 1, place + 1)) Object.assign(registers, this.#steps[each].changed);
    return registers;
  }

  /** The same vCPU's next step. */
  next(index: number): number | undefined {
    return this.#ofVcpu.get(this.#steps[index]?.vcpu)?.[this.#place[index] + 1];
  }
}
