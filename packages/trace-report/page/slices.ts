/** Single exits in the timeline: for each a slice of time in the guest, and one outside. */
import type { Step } from "../src/report-data.ts";

/** Exits that are drawn one by one, at most: with more, slices of the least width would hide the guest's time. */
const MOST = 400;
/** Bars of the rate of exits. */
export const RATES = 160;
/** Narrower slices are drawn this wide, in pixels, so that none is invisible. */
const NARROWEST = 0.75;

/** From, to, reason (-1: in the guest), index of the step. */
type Slice = readonly [from: number, to: number, reason: number, step: number];

interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The part of the chart library's interface that a custom series draws with. */
interface Drawing {
  value(dimension: number): number;
  coord(point: readonly [x: number, y: number]): [x: number, y: number];
}

export class Slices {
  readonly #steps: readonly Step[];
  /** Positions in `steps` by time: of all, and of each vCPU. */
  readonly #order: readonly number[];
  readonly #ofVcpu = new Map<number, number[]>();
  /** The interval in which all exits are in the step view. */
  readonly #from: number;
  readonly #to: number;

  constructor(steps: readonly Step[], exits: number) {
    this.#steps = steps;
    this.#order = steps.map((_, index) => index).sort((a, b) => steps[a].t - steps[b].t);
    for (const index of this.#order) {
      const { vcpu } = steps[index];
      const own = this.#ofVcpu.get(vcpu);
      if (own === undefined) this.#ofVcpu.set(vcpu, [index]);
      else own.push(index);
    }
    const whole = steps.length === exits;
    const first = this.#order[0];
    const last = this.#order.at(-1);
    this.#from = whole || first === undefined ? 0 : steps[first].t;
    this.#to = last === undefined ? 0 : whole ? Number.POSITIVE_INFINITY : steps[last].t;
  }

  /** True if all exits from `from` to `to` are in the step view, and few enough to draw. */
  covers(from: number, to: number): boolean {
    if (this.#steps.length === 0 || from < this.#from || to > this.#to) return false;
    return this.#position(this.#order, to) - this.#position(this.#order, from) <= MOST;
  }

  /** The first step at `time` or after it. */
  firstAt(time: number): number | undefined {
    return this.#order[Math.min(this.#position(this.#order, time), this.#order.length - 1)];
  }

  /** Exits per millisecond in RATES equal parts of the time from `from` to `to`, by reason. */
  rates(from: number, to: number, reasons: number): number[][] {
    const part = (to - from) / RATES;
    const rates = Array.from({ length: reasons }, () => new Array<number>(RATES).fill(0));
    const last = this.#position(this.#order, to);
    for (let at = this.#position(this.#order, from); at < last; at++) {
      const { t, reason } = this.#steps[this.#order[at]];
      rates[reason][Math.min(Math.floor((t - from) / part), RATES - 1)] += 1e6 / part;
    }
    return rates;
  }

  /** The slices of a vCPU, as a series. @param colours that of the guest, then one for each reason */
  series(grid: number, vcpu: number, from: number, to: number, colours: readonly string[]): object {
    return {
      type: "custom",
      id: `${grid}-slices`,
      xAxisIndex: grid,
      yAxisIndex: grid,
      encode: { x: [0, 1], y: 2 },
      data: this.#of(vcpu, from, to),
      renderItem: ({ coordSys }: { coordSys: Rect }, drawing: Drawing) => {
        const [left, top] = drawing.coord([drawing.value(0), 1]);
        const [right, bottom] = drawing.coord([drawing.value(1), 0]);
        const start = Math.max(left, coordSys.x);
        const end = Math.min(Math.max(right, left + NARROWEST), coordSys.x + coordSys.width);
        if (end <= start) return null;
        return {
          type: "rect",
          shape: { x: start, y: top, width: end - start, height: bottom - top },
          style: { fill: colours[drawing.value(2) + 1] },
        };
      },
    };
  }

  #of(vcpu: number, from: number, to: number): Slice[] {
    const order = this.#ofVcpu.get(vcpu) ?? [];
    const slices: Slice[] = [];
    // One more at each end, because their slices overlap the range.
    const last = Math.min(this.#position(order, to) + 1, order.length);
    for (let at = Math.max(0, this.#position(order, from) - 1); at < last; at++) {
      const index = order[at];
      const { t, inside, outside, reason } = this.#steps[index];
      slices.push([t - inside, t, -1, index], [t, t + outside, reason, index]);
    }
    return slices;
  }

  /** How many steps of `order` are before `time`. */
  #position(order: readonly number[], time: number): number {
    let low = 0;
    let high = order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#steps[order[middle]].t < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
