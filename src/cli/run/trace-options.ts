/** `-trace`: what `vmexit run` records of what happens in its guest. */
import { didYouMean } from "../../base/errors.ts";
import { keyHelp, keysOf, readKeys } from "../../config/keys.ts";
import { table } from "../../config/schema.ts";
import { each, flag, integer, text, typed } from "../../config/value.ts";
import { helpLines } from "../help-lines.ts";
import { type Complain, splitKeyValues } from "../key-values.ts";
import type { Draft } from "./request.ts";

const milliseconds = integer(1, 2 ** 31 - 1);
const sampling = typed("on|off|MS", (text, refuse) =>
  /^[0-9]/.test(text) ? { everyMs: milliseconds.parse(text, refuse) } : flag.parse(text, refuse),
);

const portRange = typed("FIRST[-LAST]", (text, refuse): [number, number] => {
  const match = /^(0x[0-9a-f]{1,4}|[0-9]{1,5})(?:-(0x[0-9a-f]{1,4}|[0-9]{1,5}))?$/i.exec(text);
  const first = Number(match?.[1] ?? -1);
  const last = Number(match?.[2] ?? first);
  if (first >= 0 && last <= 0xffff && first <= last) return [first, last];
  throw refuse(`"${text}" is not a port or a range of ports, as in 0x3f8-0x3ff`);
});

const FILE = table({
  exits: {
    type: text("FILE"),
    help: "each exit to user space, as a line of JSON; FILE.json: for Perfetto and chrome://tracing",
  },
  registers: { type: flag, help: "with registers and the code at RIP" },
  memory: { type: sampling, help: "with the memory that the guest writes, sampled every 100 ms or every MS" },
  reason: {
    type: each(text("NAME")),
    help: "only exits for this reason: IO, MMIO, …; this key and the next three may be repeated",
  },
  device: {
    type: each(text("NAME")),
    help: "only exits that this device answers: com1, virtio-blk0, unclaimed, …",
  },
  port: { type: each(portRange), help: "only exits at these ports: 0x3f8-0x3ff" },
  vcpu: { type: each(integer(0, 9999)), help: "only exits of this vCPU; the first is 0" },
});

const trace = typed("unclaimed", (text, refuse) => {
  if (text === "unclaimed") return text;
  throw refuse(`"${text}" is not a trace${didYouMean(text, ["unclaimed"])}; -trace help lists the traces`);
});

const KEYS = keysOf(table({ enable: { type: trace, help: "" }, ...FILE }));

/** Keys of a trace. */
export const TRACE_KEYS: readonly (readonly [string, string])[] = [
  ["unclaimed", "prints each access to a port or an address where no device answers"],
  ...keyHelp(keysOf(FILE)),
];

const TRACE_HELP = `Traces:
${helpLines(TRACE_KEYS, 2, 23).join("\n")}

vmexit trace summary FILE counts what a file of exits contains. Most exits of the hardware are
served by the host's kernel and are not among them; -stats shows the kernel's own counters.
`;

export function addTrace(draft: Draft, value: string, _typed: string, complain: Complain): void {
  const [first, ...more] = splitKeyValues(value, "enable");
  if (first.key === "enable" && (first.value === "help" || first.value === "?")) {
    draft.print = TRACE_HELP;
    return;
  }
  const said = readKeys([first, ...more], KEYS, complain);
  const { enable, exits, reason, device, port, vcpu, registers, memory } = said;
  if (enable !== undefined) draft.traceUnclaimed = true;
  const filter = {
    ...(reason && { reasons: reason }),
    ...(device && { devices: device }),
    ...(port && { ports: port }),
    ...(vcpu && { vcpus: vcpu }),
    ...(registers !== undefined && { registers }),
    ...(memory !== undefined && { memory }),
  };
  if (exits !== undefined) draft.traceFiles.push({ path: exits, filter });
  else if (Object.keys(filter).length > 0) {
    throw complain("the file for the exits is missing: exits=FILE");
  }
}
