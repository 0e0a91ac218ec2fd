/** Exit by exit: what happened, the instruction, the answer, and the registers before and after. */
import type { Listing, ReportData, Step } from "../src/report-data.ts";
import { swatch } from "./chart.ts";
import { button, element, emptyState, section } from "./element.ts";
import { count, duration, moment } from "./quantities.ts";
import { StepList } from "./step-list.ts";
import { type Registers, StepRegisters } from "./step-registers.ts";
import { accessLine, story } from "./step-text.ts";
import { cssColour } from "./theme.ts";

export class StepView {
  readonly section: HTMLElement;
  readonly #data: ReportData;
  readonly #registers: StepRegisters;
  readonly #list: StepList;
  readonly #detail = element("div", { class: "step-detail" });
  readonly #number = element("input", { type: "number", id: "step-number", "aria-label": "Go to exit" });
  #index = 0;

  constructor(data: ReportData) {
    this.#data = data;
    const { steps } = data.steps;
    this.#registers = new StepRegisters(steps);
    this.#list = new StepList(data, (index) => this.show(index));
    this.section = section("steps", "Step by step", this.#hint(), ...this.#content());
    if (steps.length > 0) {
      this.section.addEventListener("keydown", (event) => this.#onKey(event));
      this.show(0);
    }
  }

  /** Shows step `index`, and scrolls to the view. */
  goTo(index: number): void {
    this.show(index);
    this.section.scrollIntoView({ block: "start" });
    this.#list.frame.focus({ preventScroll: true });
  }

  show(index: number): void {
    const { steps } = this.#data.steps;
    this.#index = Math.min(Math.max(index, 0), steps.length - 1);
    const step = steps[this.#index];
    this.#number.value = `${step.seq}`;
    this.#list.show(this.#index);
    this.#detail.replaceChildren(...this.#describe(step));
  }

  #hint(): string {
    const { steps } = this.#data.steps;
    const { exits } = this.#data;
    const keys = "Arrow keys go one step; n goes to the next exit like this one.";
    if (steps.length === exits) return `All ${count(exits)} exits of the trace. ${keys}`;
    const first = count(steps[0]?.seq ?? 0);
    const last = count(steps.at(-1)?.seq ?? 0);
    return `${count(steps.length)} of ${count(exits)} exits, from number ${first} to ${last}. For others, make a report with -from and -steps. ${keys}`;
  }

  #content(): HTMLElement[] {
    const { steps } = this.#data.steps;
    if (steps.length === 0) {
      return [
        emptyState(
          this.#data.exits === 0
            ? "This trace has no exits."
            : "The trace has no exits in the selected part.",
        ),
      ];
    }
    const step = (id: string, label: string, name: string, act: () => void) =>
      button(label, { id, title: name, "aria-label": name }, act);
    this.#number.addEventListener("change", () => this.#goToSeq(Number(this.#number.value)));
    return [
      element(
        "div",
        { class: "toolbar" },
        element(
          "div",
          { class: "buttons" },
          step("step-first", "⇤", "First exit (Home)", () => this.show(0)),
          step("step-prev", "↑ Previous", "Previous exit (↑)", () => this.show(this.#index - 1)),
          step("step-next", "↓ Next", "Next exit (↓)", () => this.show(this.#index + 1)),
          step("step-last", "⇥", "Last exit (End)", () => this.show(steps.length - 1)),
          step("step-like", "Next like this", "Next exit with the same reason and place (n)", () =>
            this.#nextAlike(),
          ),
        ),
        element("span", { class: "spacer" }),
        element("label", { class: "go-to" }, "Exit ", this.#number),
      ),
      element("div", { class: "stepper" }, this.#list.frame, this.#detail),
    ];
  }

  #onKey(event: KeyboardEvent): void {
    if (event.target === this.#number || event.ctrlKey || event.metaKey || event.altKey) return;
    const act: Readonly<Record<string, () => void>> = {
      ArrowUp: () => this.show(this.#index - 1),
      ArrowLeft: () => this.show(this.#index - 1),
      ArrowDown: () => this.show(this.#index + 1),
      ArrowRight: () => this.show(this.#index + 1),
      PageUp: () => this.show(this.#index - this.#list.page),
      PageDown: () => this.show(this.#index + this.#list.page),
      Home: () => this.show(0),
      End: () => this.show(this.#data.steps.steps.length - 1),
      n: () => this.#nextAlike(),
    };
    if (!Object.hasOwn(act, event.key)) return;
    act[event.key]();
    event.preventDefault();
  }

  #goToSeq(seq: number): void {
    const { steps } = this.#data.steps;
    const found = steps.findIndex((step) => step.seq >= seq);
    this.show(found < 0 ? steps.length - 1 : found);
  }

  #nextAlike(): void {
    const { steps } = this.#data.steps;
    const like = (step: Step) => `${step.reason} ${step.access?.direction} ${step.access?.address}`;
    const wanted = like(steps[this.#index]);
    const found = steps.findIndex((step, index) => index > this.#index && like(step) === wanted);
    if (found >= 0) this.show(found);
  }

  #describe(step: Step): HTMLElement[] {
    const reason = this.#data.reasons[step.reason].name;
    const fact = (name: string, value: string) => [element("dt", {}, name), element("dd", {}, value)];
    const listing = step.code === undefined ? undefined : this.#data.steps.listings[step.code];
    return [
      element(
        "h3",
        {},
        swatch(cssColour(step.reason)),
        element("span", { id: "step-title" }, `Exit ${count(step.seq)}: ${reason}`),
        element("code", {}, accessLine(step) ?? ""),
      ),
      element("p", { class: "story" }, story(step, reason)),
      element(
        "dl",
        { class: "step-facts" },
        ...fact("when", moment(step.t, this.#data.duration)),
        ...fact("vCPU", `${step.vcpu}`),
        ...fact("mode", step.mode),
        ...fact("in the guest before", duration(step.inside)),
        ...fact("outside after", duration(step.outside)),
      ),
      listing === undefined ? this.#noCode(step) : code(listing, step.rip),
      this.#registerTable(),
    ];
  }

  #noCode(step: Step): HTMLElement {
    const why = step.changed === undefined ? "" : " The code there could not be read.";
    return element("p", { class: "quiet" }, `RIP was ${step.rip}.${why}`);
  }

  #registerTable(): HTMLElement {
    const before = this.#registers.at(this.#index);
    if (before === undefined) {
      return emptyState(
        "This trace has no registers and no code. To record them in the next trace:",
        "vmexit run … --trace exits=FILE,registers=on",
      );
    }
    const changed = this.#data.steps.steps[this.#index].changed ?? {};
    const isFirst = Object.keys(changed).length === Object.keys(before).length;
    const next = this.#registers.next(this.#index);
    const after = next === undefined ? undefined : this.#registers.at(next);
    const names = Object.keys(before);
    const half = Math.ceil(names.length / 2);
    const head = (side: "before" | "after", text: string) =>
      element("th", { scope: "col", class: side }, text);
    const table = (some: readonly string[]) =>
      element(
        "table",
        { class: "registers" },
        element(
          "thead",
          {},
          element("tr", {}, element("td"), head("before", "Before"), head("after", "After")),
        ),
        element(
          "tbody",
          {},
          ...some.map((name) => registerRow(name, before, after, !isFirst && name in changed)),
        ),
      );
    return element(
      "div",
      { class: "register-tables" },
      table(names.slice(0, half)),
      table(names.slice(half)),
      element(
        "p",
        { class: "quiet" },
        after === undefined
          ? "Before: at this exit; a dot marks what changed since this vCPU's previous exit. There is no later exit of this vCPU here."
          : "Before: at this exit; a dot marks what changed since this vCPU's previous exit. After: at its next exit, when the guest had the answer and had continued; changes are highlighted.",
      ),
    );
  }
}

function registerRow(
  name: string,
  before: Registers,
  after: Registers | undefined,
  isNew: boolean,
): HTMLElement {
  const then = after?.[name];
  const differs = then !== undefined && then !== before[name];
  return element(
    "tr",
    { "data-register": name },
    element("th", { scope: "row" }, name),
    element("td", { class: isNew ? "new" : undefined }, before[name]),
    element("td", { class: differs ? "changed" : "same" }, then === undefined ? "" : differs ? then : "="),
  );
}

/** The instructions at the exit; the one that caused it is marked. */
function code({ lines, cause }: Listing, rip: string): HTMLElement {
  const where = BigInt(rip);
  const rows = lines.map(({ address, bytes, text }, n) => {
    const marks = [n === cause ? "exited here" : "", BigInt(address) === where && n !== cause ? "RIP" : ""];
    return element(
      "tr",
      { class: n === cause ? "cause" : undefined },
      element("td", { class: "address" }, address),
      element("td", { class: "bytes" }, bytes),
      element("td", { class: "text" }, text),
      element("td", { class: "mark" }, marks.join("")),
    );
  });
  const note =
    cause === undefined
      ? "The instruction that exited is not among these: KVM had completed it when KVM_RUN returned, and RIP is behind it."
      : undefined;
  return element(
    "div",
    { class: "code" },
    rows.length === 0
      ? element("p", { class: "quiet" }, `The bytes at RIP ${rip} are not an instruction.`)
      : element("table", {}, element("tbody", {}, ...rows)),
    ...(note === undefined || rows.length === 0 ? [] : [element("p", { class: "quiet" }, note)]),
  );
}
