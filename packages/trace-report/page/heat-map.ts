/** A heat map of writes to guest memory, by time and address. */
import type { EChartsCoreOption } from "echarts/core";
import type { ReportData, TouchedMemory } from "../src/report-data.ts";
import { axis, chart, tooltip, tooltipBox } from "./chart.ts";
import { emptyState, section } from "./element.ts";
import { bytes, count, hex, moment } from "./quantities.ts";
import { palette } from "./theme.ts";

const HEIGHT = 300;

export function heatMap({ memory, duration }: ReportData): HTMLElement {
  const content =
    memory === undefined || memory.cells.length === 0
      ? emptyState(
          memory === undefined
            ? "This trace has no samples of guest memory. To record them in the next trace:"
            : "Memory was sampled, but the guest's CPUs did not write to it.",
          memory === undefined ? "vmexit run … --trace exits=FILE,memory=on" : undefined,
        )
      : chart("Guest memory written, by time and address", HEIGHT, () => option(memory, duration)).frame;
  return section(
    "memory",
    "Memory touched over time",
    "Each cell is a range of guest-physical memory during an interval of time. Its colour says how many pages the guest's CPUs wrote. Writes of devices are not counted.",
    content,
  );
}

function option(memory: TouchedMemory, duration: number): EChartsCoreOption {
  const { page, rowBytes, rows, columns, columnWidth, cells } = memory;
  const { card, heat, muted } = palette();
  const most = Math.max(...cells.map(({ pages }) => pages));
  const bare = { ...axis(), splitLine: { show: false } };
  return {
    grid: { left: 74, right: 20, top: 8, bottom: 64 },
    xAxis: {
      type: "category",
      data: Array.from({ length: columns }, (_, n) => moment(n * columnWidth, duration)),
      ...bare,
      axisLabel: { ...bare.axisLabel, interval: Math.ceil(columns / 8) - 1 },
    },
    yAxis: {
      type: "category",
      data: Array.from({ length: rows }, (_, n) => bytes(n * rowBytes)),
      ...bare,
      axisLabel: { ...bare.axisLabel, interval: Math.ceil(rows / 8) - 1 },
    },
    visualMap: {
      type: "continuous",
      min: 0,
      // Logarithmic, so that ratios of page counts are visible.
      max: Math.log2(1 + most),
      calculable: false,
      orient: "horizontal",
      left: 74,
      bottom: 4,
      itemWidth: 10,
      itemHeight: 140,
      text: [`${count(most)} pages of ${bytes(page)}`, "0"],
      textStyle: { color: muted, fontSize: 11 },
      inRange: { color: heat },
      dimension: 2,
    },
    tooltip: {
      ...tooltip(),
      formatter: ({ value }: { value: readonly number[] }) => {
        const [column, row, , pages] = value;
        const from = row * rowBytes;
        const time = `${moment(column * columnWidth, duration)} – ${moment((column + 1) * columnWidth, duration)}`;
        return tooltipBox(`${hex(from)} – ${hex(from + rowBytes - 1)}`, [
          [heat[2], time, `${count(pages)} pages · ${bytes(pages * page)}`],
        ]);
      },
    },
    series: [
      {
        type: "heatmap",
        data: cells.map(({ column, row, pages }) => [column, row, Math.log2(1 + pages), pages]),
        itemStyle: { borderWidth: 0, borderColor: card },
        progressive: 0,
      },
    ],
  };
}
