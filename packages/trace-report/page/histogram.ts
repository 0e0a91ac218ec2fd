/** The time outside the guest for each exit: a histogram whose bins grow by a constant factor. */
import type { EChartsCoreOption } from "echarts/core";
import type { ReportData } from "../src/report-data.ts";
import { axis, chart, legend, tooltip, tooltipBox } from "./chart.ts";
import { choice, element, section } from "./element.ts";
import { count, duration } from "./quantities.ts";
import { palette, reasonColours } from "./theme.ts";

type Measure = "exits" | "time";

interface Hovered {
  readonly axisValue?: number;
}

interface Rect {
  readonly x: number;
  readonly width: number;
}

/** The part of the chart library's interface that a custom series draws with. */
interface Drawing {
  value(dimension: number): number;
  coord(point: readonly [x: number, y: number]): [x: number, y: number];
}

export function histogram(data: ReportData): HTMLElement {
  let measure: Measure = "exits";
  const picture = chart("Histogram of the time outside the guest", 222, () => option(data, measure));
  const choose = choice<Measure>(
    "Height shows",
    [
      ["exits", "Exits"],
      ["time", "Time"],
    ],
    (next) => {
      measure = next;
      picture.redraw();
    },
  );
  return section(
    "histogram",
    "Time outside the guest",
    "The duration of each exit, on a logarithmic axis. By time, the height of a bar is the total time of its exits.",
    element("div", { class: "toolbar" }, legend(data, false), element("span", { class: "spacer" }), choose),
    picture.frame,
  );
}

function option({ durations, reasons }: ReportData, measure: Measure): EChartsCoreOption {
  const { edges } = durations;
  const values = durations[measure];
  const colours = reasonColours(reasons.map(({ name }) => name));
  const used = edges.slice(0, -1).flatMap((_, bin) => (values.some((row) => row[bin] > 0) ? [bin] : []));
  // Whole decades, so that the axis has labels.
  const lowest = Math.floor(Math.log10(edges[used[0] ?? 0] * 1.001));
  const highest = Math.max(lowest + 1, Math.ceil(Math.log10(edges[(used.at(-1) ?? 0) + 1] * 0.999)));
  const { muted, ink } = palette();
  return {
    grid: { left: 58, right: 16, top: 22, bottom: 26 },
    xAxis: {
      type: "value",
      min: lowest,
      max: highest,
      interval: 1,
      ...axis(),
      axisLabel: { ...axis().axisLabel, formatter: (power: number) => duration(10 ** power) },
      axisPointer: { type: "none" },
    },
    yAxis: {
      type: "value",
      min: 0,
      minInterval: 1,
      ...axis(),
      axisLabel: { ...axis().axisLabel, formatter: measure === "time" ? duration : count },
      splitNumber: 4,
    },
    tooltip: {
      ...tooltip(),
      trigger: "axis",
      axisPointer: { type: "line", snap: false, lineStyle: { color: muted } },
      formatter: (hovered: readonly Hovered[]) => {
        const at = 10 ** (hovered[0]?.axisValue ?? 0);
        const bin = edges.findIndex((edge, n) => at >= edge && at < (edges[n + 1] ?? 0));
        const rows = reasons.flatMap(({ name }, n): [string, string, string][] => {
          const value = values[n][bin] ?? 0;
          return value === 0 ? [] : [[colours[n], name, measure === "time" ? duration(value) : count(value)]];
        });
        return rows.length === 0
          ? ""
          : tooltipBox(`${duration(edges[bin])} – ${duration(edges[bin + 1])}`, rows);
      },
    },
    series: [bars(edges, used, values, colours), median(reasons, ink)],
  };
}

/** One item for each bin and reason, stacked on the items below it. */
function bars(
  edges: readonly number[],
  used: readonly number[],
  values: readonly (readonly number[])[],
  colours: readonly string[],
): object {
  const data = used.flatMap((bin) => {
    let base = 0;
    return values.flatMap((row, reason) => {
      if (row[bin] === 0) return [];
      const from = base;
      base += row[bin];
      return [[Math.log10(edges[bin]), Math.log10(edges[bin + 1]), from, base, reason]];
    });
  });
  return {
    type: "custom",
    encode: { x: [0, 1], y: [2, 3] },
    data,
    renderItem: ({ coordSys }: { coordSys: Rect }, drawing: Drawing) => {
      const [left, bottom] = drawing.coord([drawing.value(0), drawing.value(2)]);
      const [right, top] = drawing.coord([drawing.value(1), drawing.value(3)]);
      const width = Math.min(right, coordSys.x + coordSys.width) - left - 1;
      return {
        type: "rect",
        // Even a small value is visible.
        shape: { x: left, y: Math.min(top, bottom - 1), width, height: Math.max(bottom - top, 1) },
        style: { fill: colours[drawing.value(4)] },
      };
    },
  };
}

/** Lines at the most frequent reason's median and 99th percentile. */
function median(reasons: ReportData["reasons"], ink: string): object {
  const first = reasons[0];
  const line = (value: number, name: string) => ({
    xAxis: Math.log10(Math.max(value, 1)),
    label: { formatter: name, color: ink, fontSize: 11, position: "end" },
  });
  const shown = first !== undefined && first.p50 > 0;
  const apart = shown && first.p99 > first.p50 * 1.3;
  return {
    type: "line",
    data: [],
    markLine: {
      silent: true,
      symbol: "none",
      lineStyle: { color: ink, type: [4, 3], width: 1, opacity: 0.6 },
      data: [
        ...(shown ? [line(first.p50, `${first.name} median`)] : []),
        ...(apart ? [line(first.p99, "99 %")] : []),
      ],
    },
  };
}
