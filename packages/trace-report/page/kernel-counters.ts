/** KVM's own counters, compared with the exits that reached user space. */
import type { Counter, ReportData } from "../src/report-data.ts";
import { element, emptyState, section } from "./element.ts";
import { count, percent } from "./quantities.ts";

export function kernelCounters(data: ReportData): HTMLElement {
  const { kernel } = data;
  const hint =
    "Most exits of a CPU never reach user space: page faults of nested paging, CPUID, MSRs, halts and interrupts are handled in the kernel, and are in no other picture here. These are the kernel's own counters.";
  if (kernel === undefined) {
    return section(
      "kernel",
      "What the kernel counted",
      hint,
      emptyState("This trace has no samples of the kernel's counters: this kernel does not offer them."),
    );
  }
  return section(
    "kernel",
    "What the kernel counted",
    hint,
    element("p", { class: "finding" }, kernelFinding(data)),
    element(
      "div",
      { class: "columns" },
      table("Each vCPU", kernel.vcpus, (n) => `vCPU ${n}`),
      table("The machine", [kernel.vm], () => "Value"),
    ),
  );
}

/** One sentence: how many of all exits reached user space. */
export function kernelFinding({ kernel, exits }: ReportData): string {
  const total = (kernel?.vcpus ?? []).reduce(
    (sum, counters) => sum + (counterNamed(counters, "exits")?.during ?? 0),
    0,
  );
  if (kernel === undefined || total === 0) return "This kernel does not count all exits.";
  if (kernel.resets > 0) {
    return `KVM counted ${count(total)} exits since the machine's last reset; earlier ones are not included.`;
  }
  return `KVM counted ${count(total)} exits while this trace was written; the trace has ${count(exits)} of them, ${percent(exits, total)}.`;
}

/** A table of the counters that are not zero, and the names of the others below it. */
function table(
  caption: string,
  groups: readonly (readonly Counter[])[],
  head: (n: number) => string,
): HTMLElement {
  const names = [...new Set(groups.flatMap((counters) => counters.map(({ name }) => name)))];
  const isZero = (name: string) =>
    groups.every((counters) => (counterNamed(counters, name)?.value ?? 0) === 0);
  const cell = (counters: readonly Counter[], name: string) => {
    const value = counterNamed(counters, name)?.value;
    return element("td", {}, value === undefined ? "–" : count(value));
  };
  const rows = names
    .filter((name) => !isZero(name))
    .map((name) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, element("code", {}, name)),
        ...groups.map((counters) => cell(counters, name)),
      ),
    );
  const zero = names.filter(isZero);
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      { class: "numbers" },
      element("caption", {}, caption),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...["Counter", ...groups.map((_, n) => head(n))].map((text) =>
            element("th", { scope: "col" }, text),
          ),
        ),
      ),
      element("tbody", {}, ...rows),
    ),
    ...(zero.length === 0
      ? []
      : [
          element(
            "details",
            {},
            element("summary", {}, `${zero.length} counters are zero`),
            element("p", { class: "names" }, zero.join(", ")),
          ),
        ]),
  );
}

function counterNamed(counters: readonly Counter[], wanted: string): Counter | undefined {
  return counters.find(({ name }) => name === wanted);
}
