/**
 * The timeline: a lane for each vCPU with its time in the guest and outside, and
 * exits per millisecond below, over one time axis.
 *
 * Zoomed out, a lane shows shares of time. Zoomed in, if the exits there are in the
 * step view, it shows each of them, and a click goes to it.
 */
import type { ECharts, EChartsCoreOption } from "echarts/core";
import type { Lane, ReportData } from "../src/report-data.ts";
import { axis, chart, legend, tooltip, tooltipBox } from "./chart.ts";
import { button, element, section } from "./element.ts";
import { amount, duration, moment, percent } from "./quantities.ts";
import { RATES, Slices } from "./slices.ts";
import { palette, reasonColours } from "./theme.ts";
import { bucketStart, bucketSums, type TimeBuckets, timeBuckets } from "./time-buckets.ts";

const LANE = 46;
const GAP = 12;
const RATE = 130;
const TOP = 6;
const LEFT = 74;
const RIGHT = 20;
const BELOW = 82;
const MOST_BUCKETS = 450;
const SHORTEST_SPAN = 1000; // ns

/** The argument of a tooltip's formatter. */
interface Hovered {
  readonly axisValue?: number;
  readonly value?: readonly number[];
}

export function timeline(data: ReportData, goToStep: (index: number) => void): HTMLElement {
  return new Timeline(data, goToStep).section;
}

class Timeline {
  readonly section: HTMLElement;
  readonly #data: ReportData;
  readonly #slices: Slices;
  readonly #range: HTMLElement;
  readonly #chart;
  #from = 0;
  #to: number;

  constructor(data: ReportData, goToStep: (index: number) => void) {
    this.#data = data;
    this.#slices = new Slices(data.steps.steps, data.exits);
    this.#to = this.#end;
    this.#range = element("output", { id: "timeline-range", "aria-live": "polite" });
    const lanes = data.timeline.lanes.length;
    const height = TOP + lanes * (LANE + GAP) + RATE + BELOW;
    this.#chart = chart(
      "Time in the guest and outside for each vCPU, and exits per millisecond",
      height,
      () => this.#option(),
      (instance) => this.#listen(instance, goToStep),
    );
    this.#chart.frame.tabIndex = 0;
    this.#chart.frame.setAttribute("role", "group");
    this.#chart.frame.addEventListener("keydown", (event) => this.#onKey(event));
    const zoom = (id: string, label: string, name: string, act: () => void) =>
      button(label, { id, "aria-label": name, title: name }, act);
    const stepHere = button("Step from here", { id: "timeline-step" }, () => {
      const index = this.#slices.firstAt(this.#from);
      if (index !== undefined) goToStep(index);
    });
    this.section = section(
      "timeline",
      "Timeline",
      "Drag across the picture to zoom in; the bar below it moves and widens the view. Time in the guest is all time in KVM_RUN: guest code, exits that the kernel handles itself, and halts.",
      element(
        "div",
        { class: "toolbar" },
        legend(data, true),
        element("span", { class: "spacer" }),
        this.#range,
        element(
          "div",
          { class: "buttons" },
          zoom("zoom-left", "←", "Earlier", () => this.#move(-0.5)),
          zoom("zoom-right", "→", "Later", () => this.#move(0.5)),
          zoom("zoom-in", "+", "Zoom in", () => this.#scale(0.5)),
          zoom("zoom-out", "−", "Zoom out", () => this.#scale(2)),
          zoom("zoom-reset", "All", "Show all", () => this.#zoom(0, this.#end)),
          stepHere,
        ),
      ),
      this.#chart.frame,
    );
    stepHere.disabled = data.steps.steps.length === 0;
    this.#describe();
  }

  /** An axis needs a length, even for a trace without exits. */
  get #end(): number {
    return Math.max(this.#data.duration, SHORTEST_SPAN);
  }

  #onKey(event: KeyboardEvent): void {
    const act: Readonly<Record<string, () => void>> = {
      ArrowLeft: () => this.#move(-0.25),
      ArrowRight: () => this.#move(0.25),
      "+": () => this.#scale(0.5),
      "=": () => this.#scale(0.5),
      "-": () => this.#scale(2),
      "0": () => this.#zoom(0, this.#end),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(act, event.key)) return;
    act[event.key]();
    event.preventDefault();
  }

  #move(share: number): void {
    const span = this.#to - this.#from;
    const from = Math.min(Math.max(0, this.#from + share * span), this.#end - span);
    this.#zoom(from, from + span);
  }

  #scale(factor: number): void {
    const middle = (this.#from + this.#to) / 2;
    const span = Math.min(Math.max((this.#to - this.#from) * factor, SHORTEST_SPAN), this.#end);
    const from = Math.min(Math.max(0, middle - span / 2), this.#end - span);
    this.#zoom(from, from + span);
  }

  #zoom(from: number, to: number): void {
    this.#chart.instance()?.dispatchAction({ type: "dataZoom", startValue: from, endValue: to });
  }

  #listen(instance: ECharts, goToStep: (index: number) => void): void {
    instance.on("datazoom", () => {
      const range = zoomRange(instance.getOption());
      if (range === undefined) return;
      [this.#from, this.#to] = range;
      this.#describe();
      this.#chart.redraw({ series: this.#series(), tooltip: this.#tooltip() });
    });
    instance.on("click", ({ value }) => {
      if (Array.isArray(value) && typeof value[3] === "number") goToStep(value[3]);
    });
    // Dragging selects from the start, without a button for it.
    instance.dispatchAction({
      type: "takeGlobalCursor",
      key: "dataZoomSelect",
      dataZoomSelectActive: true,
    });
  }

  #describe(): void {
    const span = this.#to - this.#from;
    const all = this.#from <= 0 && this.#to >= this.#end;
    const each = this.#single() ? "single exits" : `steps of ${duration(this.#buckets().width)}`;
    const range = `${moment(this.#from, span)} – ${moment(this.#to, span)}`;
    this.#range.textContent = `${range}${all ? ", the whole trace" : ""} · ${each}`;
    this.#range.dataset.from = `${this.#from}`;
    this.#range.dataset.to = `${this.#to}`;
  }

  #buckets(): TimeBuckets {
    const { width, exits, lanes } = this.#data.timeline;
    const bins = exits[0]?.length ?? lanes[0]?.guest.length ?? 1;
    return timeBuckets(width, bins, this.#from, this.#to, MOST_BUCKETS);
  }

  #single(): boolean {
    return this.#slices.covers(this.#from, this.#to);
  }

  #option(): EChartsCoreOption {
    const { lanes } = this.#data.timeline;
    const { muted, selection, accent, line } = palette();
    const rateTop = TOP + lanes.length * (LANE + GAP);
    // All with the same width, so that times are aligned.
    const grid = { left: LEFT, right: RIGHT, outerBoundsMode: "none" };
    const grids = [
      ...lanes.map((_, n) => ({ ...grid, top: TOP + n * (LANE + GAP), height: LANE })),
      { ...grid, top: rateTop, height: RATE },
    ];
    const last = lanes.length;
    const label = (value: number) => moment(value, this.#to - this.#from);
    const bottom = { ...axis(), splitLine: { show: false } };
    return {
      grid: grids,
      xAxis: grids.map((_, n) => ({
        type: "value",
        gridIndex: n,
        min: 0,
        max: this.#end,
        ...bottom,
        axisLabel: {
          ...bottom.axisLabel,
          show: n === last,
          formatter: label,
          hideOverlap: true,
          showMinLabel: this.#from === 0,
          showMaxLabel: false,
        },
        axisPointer: { show: true, type: "line", label: { show: false }, lineStyle: { color: muted } },
      })),
      yAxis: grids.map((_, n) => ({
        type: "value",
        gridIndex: n,
        min: 0,
        ...(n < last && { max: 1 }),
        ...axis(),
        name: n < last ? `vCPU ${lanes[n].vcpu}` : "exits / ms",
        nameLocation: "middle",
        nameRotate: n < last ? 0 : 90,
        nameGap: n < last ? 30 : 48,
        nameTextStyle: { color: muted, fontSize: 11 },
        axisLabel: { ...axis().axisLabel, show: n === last, formatter: amount },
        splitLine: { ...axis().splitLine, show: n === last },
        splitNumber: 3,
      })),
      axisPointer: { link: [{ xAxisIndex: "all" }] },
      dataZoom: [
        {
          type: "slider",
          xAxisIndex: grids.map((_, n) => n),
          startValue: this.#from,
          endValue: this.#to,
          minValueSpan: SHORTEST_SPAN,
          filterMode: "none",
          height: 22,
          bottom: 12,
          left: LEFT,
          right: RIGHT,
          showDetail: false,
          brushSelect: false,
          borderColor: line,
          fillerColor: selection,
          handleStyle: { color: accent, borderColor: accent },
          moveHandleStyle: { color: line },
          emphasis: { moveHandleStyle: { color: accent } },
          dataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } },
          selectedDataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } },
        },
      ],
      // Outside the picture: it is needed only for selecting by dragging.
      toolbox: {
        top: -100,
        feature: {
          dataZoom: {
            xAxisIndex: "all",
            yAxisIndex: "none",
            filterMode: "none",
            brushStyle: { color: selection, borderWidth: 0 },
          },
        },
      },
      tooltip: this.#tooltip(),
      series: this.#series(),
    };
  }

  #series(): object[] {
    const { reasons, timeline } = this.#data;
    const { lanes, exits } = timeline;
    const colours = reasonColours(reasons.map(({ name }) => name));
    const { guest } = palette();
    const buckets = this.#buckets();
    const start = (n: number) => bucketStart(buckets, n);
    const fine = (n: number) => this.#from + (n * (this.#to - this.#from)) / RATES;
    const area = (
      grid: number,
      name: string,
      colour: string,
      values: readonly number[],
      time: (n: number) => number = start,
    ) => ({
      type: "line",
      id: `${grid}-${name}`,
      xAxisIndex: grid,
      yAxisIndex: grid,
      stack: `${grid}`,
      step: "end",
      symbol: "none",
      silent: true,
      lineStyle: { width: 0 },
      areaStyle: { color: colour, opacity: 1 },
      // The last bucket ends where the next one would begin.
      data: [...values, values.at(-1) ?? 0].map((value, n) => [time(n), value]),
    });
    const lane = ({ host, guest: inside }: Lane, grid: number) => {
      const share = (values: readonly number[]) =>
        bucketSums(values, buckets).map((ns, n) => {
          // The last bin of a trace is not complete.
          const end = Math.min(bucketStart(buckets, n) + buckets.width, this.#end);
          return Math.min(1, ns / (end - bucketStart(buckets, n)));
        });
      return [
        ...host.map((values, reason) => area(grid, `${reason}`, colours[reason], share(values))),
        area(grid, "guest", guest, share(inside)),
      ];
    };
    const single = this.#single();
    const rate = (values: readonly number[]) =>
      bucketSums(values, buckets).map((sum) => sum / (buckets.width / 1e6));
    return [
      ...lanes.flatMap((each, grid) =>
        single
          ? [this.#slices.series(grid, each.vcpu, this.#from, this.#to, [guest, ...colours])]
          : lane(each, grid),
      ),
      ...(single ? this.#slices.rates(this.#from, this.#to, reasons.length) : exits.map(rate)).map(
        (values, reason) => area(lanes.length, `${reason}`, colours[reason], values, single ? fine : start),
      ),
    ];
  }

  #tooltip(): object {
    const single = this.#single();
    return {
      ...tooltip(),
      trigger: single ? "item" : "axis",
      formatter: (hovered: Hovered | readonly Hovered[]) =>
        "length" in hovered
          ? this.#bucketTip(hovered[0]?.axisValue ?? 0)
          : this.#sliceTip(hovered.value ?? []),
    };
  }

  #bucketTip(time: number): HTMLElement | string {
    const buckets = this.#buckets();
    const n = Math.floor(time / buckets.width) - buckets.first / buckets.group;
    if (n < 0 || n >= buckets.count) return "";
    const { reasons, timeline } = this.#data;
    const colours = reasonColours(reasons.map(({ name }) => name));
    const start = bucketStart(buckets, n);
    const span = this.#to - this.#from;
    const at = (values: readonly number[]) => bucketSums(values, buckets)[n];
    const total = (all: readonly (readonly number[])[]) => all.reduce((sum, values) => sum + at(values), 0);
    return tooltipBox(`${moment(start, span)} – ${moment(start + buckets.width, span)}`, [
      ...timeline.lanes.map(({ vcpu, guest, host }): [string, string, string] => {
        const inside = at(guest);
        return [palette().guest, `vCPU ${vcpu} in the guest`, percent(inside, inside + total(host))];
      }),
      ...reasons.flatMap(({ name }, reason): [string, string, string][] => {
        const exits = at(timeline.exits[reason]);
        return exits === 0
          ? []
          : [[colours[reason], `${name} exits / ms`, amount(exits / (buckets.width / 1e6))]];
      }),
    ]);
  }

  #sliceTip(value: readonly number[]): HTMLElement | string {
    const [from, to, reason, index] = value;
    const step = this.#data.steps.steps[index];
    if (step === undefined) return "";
    const names = this.#data.reasons.map(({ name }) => name);
    const span = this.#to - this.#from;
    const [colour, what] =
      reason < 0
        ? [palette().guest, "in the guest until"]
        : [reasonColours(names)[reason], `${names[reason]}, handled in`];
    return tooltipBox(`Exit ${step.seq} at ${moment(step.t, span)}`, [[colour, what, duration(to - from)]]);
  }
}

/** The zoomed range of a chart. */
function zoomRange(option: object): [from: number, to: number] | undefined {
  if (!("dataZoom" in option) || !Array.isArray(option.dataZoom)) return undefined;
  const zoom: unknown = option.dataZoom[0];
  if (typeof zoom !== "object" || zoom === null) return undefined;
  const from = "startValue" in zoom ? zoom.startValue : undefined;
  const to = "endValue" in zoom ? zoom.endValue : undefined;
  return typeof from === "number" && typeof to === "number" ? [from, to] : undefined;
}
