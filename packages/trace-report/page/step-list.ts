/**
 * The list of exits in the step view. Only visible rows are in the document, so
 * the list may have a hundred thousand.
 */
import type { ReportData } from "../src/report-data.ts";
import { swatch } from "./chart.ts";
import { element } from "./element.ts";
import { count, duration } from "./quantities.ts";
import { accessLine } from "./step-text.ts";
import { cssColour } from "./theme.ts";

const ROW = 26;
const MORE = 6;

export class StepList {
  readonly frame: HTMLElement;
  readonly #data: ReportData;
  readonly #rows = element("div", { class: "rows", role: "presentation" });
  readonly #onPick: (index: number) => void;
  #current = 0;

  constructor(data: ReportData, onPick: (index: number) => void) {
    this.#data = data;
    this.#onPick = onPick;
    this.#rows.style.height = `${data.steps.steps.length * ROW}px`;
    this.frame = element(
      "div",
      { class: "step-list", role: "listbox", tabindex: 0, "aria-label": "Exits" },
      this.#rows,
    );
    this.frame.addEventListener("scroll", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.frame);
  }

  /** The number of rows in a page. */
  get page(): number {
    return Math.max(1, Math.floor(this.frame.clientHeight / ROW) - 1);
  }

  /** Marks a row as the current one, and scrolls to it. */
  show(index: number): void {
    this.#current = index;
    const top = index * ROW;
    const { scrollTop, clientHeight } = this.frame;
    if (top < scrollTop + ROW || top > scrollTop + clientHeight - 2 * ROW) {
      this.frame.scrollTop = top - clientHeight / 2 + ROW;
    }
    this.#draw();
  }

  #draw(): void {
    const { scrollTop, clientHeight } = this.frame;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - MORE);
    const last = Math.min(this.#data.steps.steps.length, Math.ceil((scrollTop + clientHeight) / ROW) + MORE);
    this.#rows.replaceChildren(
      ...Array.from({ length: Math.max(0, last - first) }, (_, n) => this.#row(first + n)),
    );
    this.frame.setAttribute("aria-activedescendant", `step-${this.#current}`);
  }

  #row(index: number): HTMLElement {
    const step = this.#data.steps.steps[index];
    const reason = this.#data.reasons[step.reason].name;
    const row = element(
      "div",
      {
        id: `step-${index}`,
        class: "row",
        role: "option",
        "aria-selected": index === this.#current ? "true" : "false",
      },
      element("span", { class: "seq" }, count(step.seq)),
      element("span", { class: "cpu" }, this.#data.vcpus > 1 ? `${step.vcpu}` : ""),
      swatch(cssColour(step.reason)),
      element("span", { class: "what" }, accessLine(step) ?? reason),
      element("span", { class: "took" }, duration(step.outside)),
    );
    row.style.top = `${index * ROW}px`;
    row.addEventListener("click", () => this.#onPick(index));
    return row;
  }
}
