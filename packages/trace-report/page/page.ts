/** The report's page: reads the data in the document, and draws it. */
import type { ReportData } from "../src/report-data.ts";
import { addressMap } from "./address-map.ts";
import { button, element } from "./element.ts";
import { heatMap } from "./heat-map.ts";
import { histogram } from "./histogram.ts";
import { kernelCounters } from "./kernel-counters.ts";
import { network } from "./network.ts";
import { StepView } from "./step-view.ts";
import { reasonTable, summary } from "./summary.ts";
import { chooseTheme, onTheme, startTheme, theme } from "./theme.ts";
import { timeline } from "./timeline.ts";
import { treePicture } from "./tree-picture.ts";

const LINKS: readonly (readonly [id: string, text: string])[] = [
  ["timeline", "Timeline"],
  ["reasons", "Reasons"],
  ["tree", "Devices"],
  ["steps", "Steps"],
  ["memory", "Memory"],
  ["map", "Map"],
  ["network", "Network"],
  ["kernel", "Kernel"],
];

function draw(data: ReportData): void {
  startTheme(data.reasons.map(({ name }) => name));
  const steps = new StepView(data);
  const pair = (...parts: readonly HTMLElement[]) => element("div", { class: "pair" }, ...parts);
  document.body.append(
    topBar(),
    element(
      "main",
      {},
      summary(data),
      timeline(data, (index) => steps.goTo(index)),
      pair(reasonTable(data), histogram(data)),
      treePicture(data),
      steps.section,
      heatMap(data),
      addressMap(data),
      network(data),
      kernelCounters(data),
    ),
    element(
      "footer",
      {},
      "Made by vmexit trace report. This file is self-contained: it loads and sends nothing.",
    ),
  );
}

function topBar(): HTMLElement {
  const toggle = button("", { id: "theme" }, () => chooseTheme(theme() === "dark" ? "light" : "dark"));
  const label = () => {
    const other = theme() === "dark" ? "light" : "dark";
    toggle.textContent = theme() === "dark" ? "☀ Light" : "☾ Dark";
    toggle.setAttribute("aria-label", `Switch to the ${other} theme`);
  };
  onTheme(label);
  label();
  return element(
    "div",
    { class: "top" },
    element("a", { class: "brand", href: "#summary" }, "vmexit ", element("span", {}, "trace report")),
    element(
      "nav",
      { "aria-label": "Parts" },
      ...LINKS.map(([id, text]) => element("a", { href: `#${id}` }, text)),
    ),
    toggle,
  );
}

const embedded = document.getElementById("report-data");
// The generator of the same version wrote the data beside this script.
const data: ReportData = JSON.parse(embedded?.textContent ?? "null");
draw(data);
