/**
 * The machine's address map: which device answers at which address and port.
 *
 * The axis is not linear: the height of a range is the logarithm of its size, and
 * between two ranges there is a gap, labelled with its size. So 8 ports and 3 GiB
 * fit into one picture.
 */
import type { MapRow, ReportData } from "../src/report-data.ts";
import { element, emptyState, section } from "./element.ts";
import { bytes, count, hex } from "./quantities.ts";

/** CSS pixels of a range: the smallest, and more for each doubling. */
const LEAST = 26;
const PER_DOUBLING = 1.6;

const DIGITS = { memory: 8, port: 4 } as const;

export function addressMap({ map }: ReportData): HTMLElement {
  const column = (space: "memory" | "port", title: string) => {
    const rows = map.filter((row) => row.space === space);
    return element(
      "div",
      { class: "address-space" },
      element("h3", {}, title),
      rows.length === 0 ? emptyState("The trace has no ranges here.") : ladder(rows, space),
    );
  };
  const content =
    map.length === 0
      ? emptyState("The trace has no address map.")
      : element(
          "div",
          { class: "columns" },
          column("memory", "Guest-physical memory"),
          column("port", "I/O ports"),
        );
  return section(
    "map",
    "Address map",
    "Lowest addresses first. The height of a range is the logarithm of its size, and gaps are shortened. Bars count the exits that accesses to a range caused; RAM causes none.",
    content,
  );
}

function ladder(rows: readonly MapRow[], space: "memory" | "port"): HTMLElement {
  const most = Math.max(...rows.map(({ exits }) => exits), 1);
  const list = element("ol", { class: "ladder" });
  let end = rows[0]?.address ?? 0;
  for (const row of rows) {
    if (row.address > end) list.append(gap(row.address - end, space));
    list.append(rung(row, most, DIGITS[space]));
    end = Math.max(end, row.address + row.length);
  }
  return list;
}

function gap(size: number, space: "memory" | "port"): HTMLElement {
  const text = space === "memory" ? bytes(size) : `${count(size)} port${size === 1 ? "" : "s"}`;
  return element("li", { class: "gap" }, element("span", {}, `nothing in ${text}`));
}

function rung(
  { name, address, length, what, exits, space }: MapRow,
  most: number,
  digits: number,
): HTMLElement {
  const size = space === "memory" ? bytes(length) : `${count(length)} port${length === 1 ? "" : "s"}`;
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${(100 * exits) / most}%`;
  const made = element(
    "li",
    { class: `range ${what}` },
    element(
      "span",
      { class: "address" },
      length > 1 ? `${hex(address, digits)} – ${hex(address + length - 1, digits)}` : hex(address, digits),
    ),
    element("span", { class: "block" }, element("b", {}, name), element("span", {}, size)),
    element(
      "span",
      { class: "hits" },
      bar,
      element("span", {}, what === "ram" ? "" : exits === 1 ? "1 exit" : `${count(exits)} exits`),
    ),
  );
  made.style.minHeight = `${Math.round(LEAST + PER_DOUBLING * Math.log2(Math.max(length, 1)))}px`;
  return made;
}
