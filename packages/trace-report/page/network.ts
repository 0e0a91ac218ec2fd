/** The network cards: what they carried, what the user network decided, and the first frames one by one. */
import type { NetworkData, NetworkEventRow, ReportData } from "../src/report-data.ts";
import { element, emptyState, section } from "./element.ts";
import { bytes, count, moment } from "./quantities.ts";

const HINT =
  "Frames are counted where they cross from the card to its network. A decision is what the user network did with a connection, a name or an address that the guest asked for.";

export function network(data: ReportData): HTMLElement {
  const { network: seen } = data;
  if (seen === undefined) {
    return section(
      "network",
      "What the network cards carried",
      HINT,
      emptyState("This trace has no frames of network cards.", "-trace exits=FILE,network=on"),
    );
  }
  return section(
    "network",
    "What the network cards carried",
    HINT,
    table(
      "Cards",
      ["Card", "Frames sent", "Bytes sent", "Frames received", "Bytes received"],
      seen.cards.map((card) => [
        card.card,
        count(card.framesOut),
        bytes(card.bytesOut),
        count(card.framesIn),
        bytes(card.bytesIn),
      ]),
    ),
    ...connections(seen),
    events(seen, data.duration),
  );
}

function connections({ connections: rows }: NetworkData): HTMLElement[] {
  if (rows.length === 0) return [];
  return [
    table(
      "Decisions of the user network",
      ["Asked for", "Answer", "Times"],
      rows.map(({ protocol, target, verdict, count: times }) => [
        `${protocol} ${target}`,
        verdict,
        count(times),
      ]),
    ),
  ];
}

function events({ events: rows, more, lost }: NetworkData, span: number): HTMLElement {
  const rest = [
    ...(more === 0 ? [] : [`${count(more)} more are in the trace.`]),
    ...(lost === 0 ? [] : [`${count(lost)} were not recorded: they came too fast.`]),
  ];
  return element(
    "details",
    { open: rows.length <= 40 },
    element("summary", {}, `The first ${count(rows.length)} frames and decisions`),
    table(
      "In the order of the trace",
      ["What", "Card", "Time", "Size"],
      rows.map((row) => [
        `${sign(row)} ${row.text}`,
        row.card,
        moment(row.t, span),
        row.direction === "decision" ? "" : bytes(row.length),
      ]),
    ),
    ...rest.map((sentence) => element("p", { class: "names" }, sentence)),
  );
}

function sign({ direction }: NetworkEventRow): string {
  return direction === "out" ? "guest:" : direction === "in" ? "to the guest:" : "decision:";
}

function table(caption: string, heads: readonly string[], rows: readonly (readonly string[])[]): HTMLElement {
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      { class: "numbers" },
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element(
        "tbody",
        {},
        ...rows.map(([first, ...cells]) =>
          element(
            "tr",
            {},
            element("th", { scope: "row" }, first),
            ...cells.map((cell) => element("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
}
