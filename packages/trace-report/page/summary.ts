/** The head of the report: the trace in numbers, and the table of exit reasons. */
import type { ReportData } from "../src/report-data.ts";
import { swatch } from "./chart.ts";
import { element, section } from "./element.ts";
import { kernelFinding } from "./kernel-counters.ts";
import { amount, count, duration, percent } from "./quantities.ts";
import { cssColour } from "./theme.ts";

export function summary(data: ReportData): HTMLElement {
  const { name, vcpus, startedAt, exits, inside, outside, dropped } = data;
  const cpus = `${vcpus} vCPU${vcpus === 1 ? "" : "s"}`;
  const facts = [cpus, startedAt && `traced from ${when(startedAt)}`].filter((each) => each !== "");
  const tile = (label: string, value: string, note: string, warn = false) =>
    element(
      "div",
      { class: warn ? "tile warn" : "tile" },
      element("dt", {}, label),
      element("dd", {}, value),
      element("dd", { class: "note" }, note),
    );
  const traced = inside + outside;
  const seconds = data.duration / 1e9;
  return element(
    "header",
    { id: "summary" },
    element("h1", {}, name || "A machine without a name"),
    element("p", { class: "facts" }, facts.join(" · ")),
    ...notices(data),
    element(
      "dl",
      { class: "tiles" },
      tile("Duration", duration(data.duration), "of the trace"),
      tile("Exits", count(exits), "that reached user space"),
      tile("Rate", seconds > 0 ? `${amount(exits / seconds)} /s` : "–", "exits per second of the trace"),
      tile("In the guest", percent(inside, traced), duration(inside)),
      tile(
        "Outside",
        percent(outside, traced),
        exits > 0 ? `${duration(outside / exits)} per exit` : duration(outside),
      ),
      tile(
        "Dropped",
        count(dropped),
        dropped > 0 ? "exits are missing here" : "no exits are missing",
        dropped > 0,
      ),
    ),
  );
}

function notices({ cut, dropped, exits }: ReportData): HTMLElement[] {
  const notice = (text: string) => element("p", { class: "notice", role: "note" }, text);
  return [
    ...(cut === undefined
      ? []
      : [notice(`This trace is not complete. ${cut}. All records before that are here.`)]),
    ...(dropped === 0
      ? []
      : [
          notice(
            `${count(dropped)} exits were dropped while the trace was written, so the ${count(exits)} exits here are not all.`,
          ),
        ]),
  ];
}

export function reasonTable(data: ReportData): HTMLElement {
  const { reasons, exits, outside } = data;
  const head = ["Reason", "Exits", "Share", "Time outside", "Share", "Median", "99 %"];
  const rows = reasons.map((row, n) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, swatch(cssColour(n)), row.name),
      ...[
        count(row.exits),
        percent(row.exits, exits),
        duration(row.outside),
        percent(row.outside, outside),
        duration(row.p50),
        duration(row.p99),
      ].map((text) => element("td", {}, text)),
    ),
  );
  return section(
    "reasons",
    "Exits by reason",
    "Exits that reached user space, by the names of the KVM API. Median and 99 % are of the time outside the guest.",
    element(
      "div",
      { class: "scroll" },
      element(
        "table",
        { class: "numbers" },
        element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
        element("tbody", {}, ...rows),
      ),
    ),
    element("p", { class: "finding" }, kernelFinding(data)),
    element(
      "p",
      { class: "quiet" },
      "Most exits of a CPU never reach user space. ",
      element("a", { href: "#kernel" }, "What the kernel counted"),
    ),
  );
}

function when(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime())
    ? iso
    : date
        .toISOString()
        .replace("T", " ")
        .replace(/\.\d+Z$/, " UTC");
}
