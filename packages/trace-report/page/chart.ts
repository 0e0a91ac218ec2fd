/**
 * The parts of the chart library that the pictures need, and a frame that draws a
 * picture again when the theme or the window changes.
 *
 * Charts are SVG: they are sharp in print, and a test can inspect them.
 */
import { CustomChart, HeatmapChart, LineChart } from "echarts/charts";
import {
  DataZoomComponent,
  GridComponent,
  MarkLineComponent,
  ToolboxComponent,
  TooltipComponent,
  VisualMapComponent,
} from "echarts/components";
import type { ECharts, EChartsCoreOption } from "echarts/core";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { ReportData } from "../src/report-data.ts";
import { element } from "./element.ts";
import { cssColour, onTheme, palette } from "./theme.ts";

echarts.use([
  CustomChart,
  HeatmapChart,
  LineChart,
  DataZoomComponent,
  GridComponent,
  MarkLineComponent,
  ToolboxComponent,
  TooltipComponent,
  VisualMapComponent,
  SVGRenderer,
]);

export const FONT =
  'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

/** A picture and its element. */
export interface Chart {
  readonly frame: HTMLElement;
  /** Draws the picture again after its data changed: all of it, or only the given parts of its option. */
  redraw(part?: EChartsCoreOption): void;
  /** Undefined until it is first drawn. */
  instance(): ECharts | undefined;
}

/**
 * @param label  the description for screen readers
 * @param height CSS pixels
 * @param option the whole chart, from the current state and palette
 * @param ready  called whenever the chart was made, also for another theme: adds listeners
 */
export function chart(
  label: string,
  height: number,
  option: () => EChartsCoreOption,
  ready: (instance: ECharts) => void = () => {},
): Chart {
  const frame = element("div", { class: "chart", role: "img", "aria-label": label });
  frame.style.height = `${height}px`;
  let instance: ECharts | undefined;

  const draw = () => {
    instance?.dispose();
    instance = echarts.init(frame, null, { renderer: "svg" });
    instance.setOption({ ...option(), animation: false, textStyle: { fontFamily: FONT } });
    ready(instance);
  };
  // The element gets a size when it is in the document, and another one with the window.
  new ResizeObserver(() => {
    if (frame.clientWidth === 0) return;
    if (instance === undefined) draw();
    else instance.resize();
  }).observe(frame);
  onTheme(() => instance !== undefined && draw());

  return {
    frame,
    redraw: (part = option()) => instance?.setOption(part, { replaceMerge: ["series"] }),
    instance: () => instance,
  };
}

/** The common part of all tooltips. Their content is an element, so no text in it can be markup. */
export function tooltip(): object {
  const { card, line, ink } = palette();
  return {
    backgroundColor: card,
    borderColor: line,
    padding: [8, 10],
    textStyle: { color: ink, fontSize: 12, fontFamily: FONT },
    confine: true,
    transitionDuration: 0,
  };
}

/** A tooltip's content: a title and rows of colour, name and value. */
export function tooltipBox(
  title: string,
  rows: readonly (readonly [colour: string, name: string, value: string])[],
): HTMLElement {
  return element(
    "div",
    { class: "tip" },
    element("strong", {}, title),
    ...rows.map(([colour, name, value]) =>
      element(
        "div",
        { class: "tip-row" },
        swatch(colour),
        element("span", {}, name),
        element("b", {}, value),
      ),
    ),
  );
}

/** A coloured square. */
export function swatch(colour: string): HTMLElement {
  const made = element("i", { class: "swatch" });
  made.style.background = colour;
  return made;
}

/** The colours of the reasons, and if `guest`, of time in the guest. */
export function legend({ reasons }: ReportData, guest: boolean): HTMLElement {
  const item = (colour: string, name: string) => element("li", {}, swatch(colour), name);
  return element(
    "ul",
    { class: "legend", "aria-label": "Colours" },
    ...(guest ? [item(cssColour("guest"), "guest")] : []),
    ...reasons.map(({ name }, reason) => item(cssColour(reason), name)),
  );
}

/** The style of axes. */
export function axis(): { axisLine: object; axisTick: object; axisLabel: object; splitLine: object } {
  const { muted, line } = palette();
  return {
    axisLine: { show: true, lineStyle: { color: line } },
    axisTick: { show: false },
    axisLabel: { color: muted, fontSize: 11, fontFamily: FONT },
    splitLine: { show: true, lineStyle: { color: line, type: [2, 3] } },
  };
}
