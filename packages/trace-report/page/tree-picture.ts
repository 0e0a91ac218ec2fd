/**
 * Exits as an icicle: reason, then device, then register, each as wide as its share
 * of the exits or of their time. A click or Enter zooms to one of them.
 */
import type { ECharts, EChartsCoreOption } from "echarts/core";
import type { ReportData, TreeNode } from "../src/report-data.ts";
import { chart, FONT, tooltip, tooltipBox } from "./chart.ts";
import { mixed, readableOn } from "./colour.ts";
import { button, choice, element, section } from "./element.ts";
import { count, duration, percent } from "./quantities.ts";
import { palette, reasonColours } from "./theme.ts";

const ROW = 44;
const LEVELS = 4;
/** Narrower parts are omitted, because they would be invisible. In parts of the width. */
const NARROWEST = 0.0008;

type Weight = "exits" | "outside";

interface Placed {
  readonly node: TreeNode;
  readonly parent: Placed | undefined;
  readonly depth: number;
  /** In parts of the width, without zoom. */
  readonly start: number;
  readonly width: number;
  /** -1 for the root. */
  readonly reason: number;
}

/** The part of the chart library's interface that a custom series draws with. */
interface Drawing {
  value(dimension: number): number;
  coord(point: readonly [x: number, y: number]): [x: number, y: number];
}

export function treePicture(data: ReportData): HTMLElement {
  return new TreePicture(data).section;
}

class TreePicture {
  readonly section: HTMLElement;
  readonly #data: ReportData;
  readonly #path = element("nav", { class: "path", "aria-label": "Zoomed to" });
  readonly #chart;
  #weight: Weight = "exits";
  #placed: Placed[] = [];
  #focus: Placed | undefined;
  #selected: Placed | undefined;

  constructor(data: ReportData) {
    this.#data = data;
    this.#place();
    this.#chart = chart(
      "Exits by reason, device and register",
      LEVELS * ROW + 8,
      () => this.#option(),
      (instance) => this.#listen(instance),
    );
    this.#chart.frame.tabIndex = 0;
    this.#chart.frame.setAttribute("role", "group");
    this.#chart.frame.addEventListener("keydown", (event) => this.#onKey(event));
    const weigh = choice<Weight>(
      "Width shows",
      [
        ["exits", "Exits"],
        ["outside", "Time"],
      ],
      (weight) => {
        this.#weight = weight;
        this.#place();
        this.#zoom(this.#placed[0]);
      },
    );
    this.section = section(
      "tree",
      "Exits by device and register",
      "From the top: all exits, the reason, the device that answered, its register. Click a part to zoom in, or use the arrow keys and Enter.",
      element("div", { class: "toolbar" }, this.#path, element("span", { class: "spacer" }), weigh),
      this.#chart.frame,
    );
    this.#describe();
  }

  #place(): void {
    const placed: Placed[] = [];
    const names = this.#data.reasons.map(({ name }) => name);
    const whole = Math.max(this.#data.tree[this.#weight], 1);
    const place = (node: TreeNode, parent: Placed | undefined, start: number) => {
      const depth = parent === undefined ? 0 : parent.depth + 1;
      const reason = depth === 1 ? names.indexOf(node.name) : (parent?.reason ?? -1);
      const self = { node, parent, depth, start, width: node[this.#weight] / whole, reason };
      placed.push(self);
      let at = start;
      const largestFirst = [...node.children].sort((a, b) => b[this.#weight] - a[this.#weight]);
      for (const child of largestFirst) {
        place(child, self, at);
        at += child[this.#weight] / whole;
      }
    };
    place(this.#data.tree, undefined, 0);
    this.#placed = placed;
    this.#focus = this.#selected = placed[0];
  }

  #zoom(to: Placed | undefined): void {
    this.#focus = this.#selected = to;
    this.#describe();
    this.#chart.redraw();
  }

  #describe(): void {
    const crumbs: HTMLElement[] = [];
    for (let at = this.#focus; at !== undefined; at = at.parent) {
      const target = at;
      const attributes = { "aria-current": at === this.#focus ? "true" : undefined };
      crumbs.unshift(button(at.node.name, attributes, () => this.#zoom(target)));
    }
    this.#path.replaceChildren(...crumbs);
  }

  #listen(instance: ECharts): void {
    instance.on("click", ({ value }) => {
      const index: unknown = Array.isArray(value) ? value[0] : undefined;
      if (typeof index === "number") this.#zoom(this.#placed[index]);
    });
  }

  #onKey(event: KeyboardEvent): void {
    const from = this.#selected;
    if (from === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const beside = (step: number) => {
      const row = this.#placed.filter((each) => each.depth === from.depth && this.#isShown(each));
      return row[row.indexOf(from) + step];
    };
    const targets: Readonly<Record<string, () => Placed | undefined>> = {
      ArrowUp: () => from.parent,
      ArrowDown: () => this.#placed.find((each) => each.parent === from && this.#isShown(each)),
      ArrowLeft: () => beside(-1),
      ArrowRight: () => beside(1),
      Enter: () => from,
      Escape: () => this.#placed[0],
    };
    if (!Object.hasOwn(targets, event.key)) return;
    event.preventDefault();
    const target = targets[event.key]();
    if (target === undefined) return;
    if (event.key === "Enter" || event.key === "Escape") this.#zoom(target);
    else {
      this.#selected = target;
      this.#chart.redraw();
    }
  }

  /** True if wide enough, and inside or above the zoomed part. */
  #isShown({ start, width }: Placed): boolean {
    const focus = this.#focus;
    if (focus === undefined || focus.width === 0) return false;
    const overlap = Math.min(start + width, focus.start + focus.width) - Math.max(start, focus.start);
    return overlap / focus.width > NARROWEST;
  }

  #option(): EChartsCoreOption {
    const { ink, card, guest, accent } = palette();
    const colours = reasonColours(this.#data.reasons.map(({ name }) => name));
    const { start = 0, width = 1 } = this.#focus ?? {};
    const selected = this.#selected;
    return {
      grid: { left: 0, right: 0, top: 4, bottom: 4 },
      xAxis: { type: "value", min: 0, max: 1, show: false },
      yAxis: { type: "value", min: 0, max: LEVELS, show: false, inverse: true },
      tooltip: {
        ...tooltip(),
        formatter: ({ value }: { value: readonly number[] }) =>
          this.#tip(this.#placed[value[0]], colours, guest),
      },
      series: [
        {
          type: "custom",
          encode: { x: 1, y: 2 },
          data: this.#placed.flatMap((each, index) => (this.#isShown(each) ? [[index, 0, each.depth]] : [])),
          renderItem: (_: object, drawing: Drawing) => {
            const each = this.#placed[drawing.value(0)];
            const from = Math.max(0, (each.start - start) / width);
            const to = Math.min(1, (each.start + each.width - start) / width);
            const [left, top] = drawing.coord([from, each.depth]);
            const [right, bottom] = drawing.coord([to, each.depth + 1]);
            const shape = {
              x: left,
              y: top,
              width: Math.max(right - left - 1, 1),
              height: bottom - top - 2,
              r: 3,
            };
            const isRoot = each.reason < 0;
            // Deeper levels are paler, to distinguish them.
            const fill = isRoot ? guest : mixed(colours[each.reason], card, 0.18 * (each.depth - 1));
            const label = this.#label(each, shape.width);
            return {
              type: "rect",
              shape,
              style: {
                fill,
                stroke: each === selected && each !== this.#focus ? accent : card,
                lineWidth: each === selected && each !== this.#focus ? 3 : 0,
              },
              textContent: {
                type: "text",
                style: {
                  text: label,
                  fill: isRoot ? ink : readableOn(fill),
                  fontSize: 12,
                  fontFamily: FONT,
                },
              },
              textConfig: { position: "insideLeft", inside: true, distance: 8 },
            };
          },
        },
      ],
    };
  }

  /** As much as fits: name and share, the name, or nothing. */
  #label({ node }: Placed, width: number): string {
    const share = percent(node[this.#weight], this.#data.tree[this.#weight]);
    const room = Math.floor((width - 16) / 6.8);
    const long = `${node.name}  ${share}`;
    if (long.length <= room) return long;
    if (node.name.length <= room) return node.name;
    return room >= 4 ? `${node.name.slice(0, room - 1)}…` : "";
  }

  #tip(each: Placed | undefined, colours: readonly string[], guest: string): HTMLElement | string {
    if (each === undefined) return "";
    const { node, reason, parent } = each;
    const { exits, outside } = this.#data.tree;
    const colour = reason < 0 ? guest : colours[reason];
    const path = parent?.parent === undefined ? node.name : `${parent.node.name} › ${node.name}`;
    return tooltipBox(path, [
      [colour, "exits", `${count(node.exits)} · ${percent(node.exits, exits)}`],
      [colour, "time outside", `${duration(node.outside)} · ${percent(node.outside, outside)}`],
      [colour, "an exit", duration(node.exits > 0 ? node.outside / node.exits : 0)],
    ]);
  }
}
