/** `-trace`: what `vmexit run` records of its guest. */
import { didYouMean } from "../../base/errors.ts";
import { keyHelp, keysOf, readKeys } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { TRACE } from "../../config/trace.ts";
import { text, typed } from "../../config/value.ts";
import { helpLines } from "../help-lines.ts";
import { type Complain, splitKeyValues } from "../key-values.ts";
import type { Draft } from "./request.ts";

const FILE = table({
  exits: {
    type: text("FILE"),
    help: "each exit to user space, as a line of JSON; FILE.json: for Perfetto and chrome://tracing",
  },
  ...TRACE,
});

const trace = typed("unclaimed|firmware|net", (text, refuse) => {
  if (text === "unclaimed" || text === "firmware" || text === "net") return text;
  const hint = didYouMean(text, ["unclaimed", "firmware", "net"]);
  throw refuse(`"${text}" is not a trace${hint}; -trace help lists the traces`);
});

const KEYS = keysOf(table({ enable: { type: trace, help: "" }, ...FILE }));

/** Keys of a trace. */
export const TRACE_KEYS: readonly (readonly [string, string])[] = [
  ["unclaimed", "prints each access to a port or an address where no device answers"],
  ["net", "prints each frame of the network cards, and what the user network decides, on standard error"],
  ["firmware", "prints the messages of a pc's firmware, from the debug console, on standard error"],
  ...keyHelp(keysOf(FILE)),
];

const TRACE_HELP = `Traces:
${helpLines(TRACE_KEYS, 2, 23).join("\n")}

vmexit trace summary FILE counts the exits in such a file. The host's kernel handles most hardware
exits itself; these are not in the file. -stats shows the kernel's counters, which include them.
`;

export function addTrace(draft: Draft, value: string, typed: string, complain: Complain): void {
  const [first, ...more] = splitKeyValues(value, "enable");
  if (first.key === "enable" && (first.value === "help" || first.value === "?")) {
    draft.print = TRACE_HELP;
    return;
  }
  const said = readKeys([first, ...more], KEYS, complain);
  const { enable, exits, ...filter } = said;
  if (enable === "unclaimed") draft.traceUnclaimed = true;
  if (enable === "net") draft.traceNetwork = true;
  if (enable === "firmware") {
    if (draft.debugConsole !== undefined) throw complain("the debug console is connected already");
    draft.debugConsole = { typed, where: { kind: "stderr" } };
  }
  if (exits !== undefined) draft.traceFiles.push({ path: exits, filter });
  else if (Object.keys(filter).length > 0) {
    throw complain("the file for the exits is missing: exits=FILE");
  }
}
