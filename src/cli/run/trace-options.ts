/** `-trace`: what `vmexit run` writes down of what happens in its guest. */
import { didYouMean } from "../../base/errors.ts";
import type { Complain, KeyRow } from "../key-values.ts";
import { count, onOff, setKeys } from "../key-values.ts";
import type { Draft } from "./request.ts";

interface TraceDraft {
  unclaimed: boolean;
  help: boolean;
  path?: string;
  /** Keys that say something about a file. */
  filter: {
    reasons?: string[];
    devices?: string[];
    ports?: [number, number][];
    vcpus?: number[];
    registers?: boolean;
    memory?: boolean | { everyMs: number };
  };
}

const KEYS: readonly KeyRow<TraceDraft>[] = [
  {
    name: "enable",
    values: "unclaimed",
    help: "",
    set: (draft, value, complain) => {
      if (value === "help" || value === "?") draft.help = true;
      else if (value !== "unclaimed") {
        throw complain(`unknown trace${didYouMean(value, ["unclaimed"])}; -trace help lists the traces`);
      } else draft.unclaimed = true;
    },
  },
  {
    name: "exits",
    values: "FILE",
    help: "each exit to user space, as a line of JSON; FILE.json: for Perfetto and chrome://tracing",
    set: (draft, value) => {
      draft.path = value;
    },
  },
  {
    name: "registers",
    values: "on|off",
    help: "with registers and the code at RIP",
    set: ({ filter }, value, complain) => {
      filter.registers = onOff("registers", value, complain);
    },
  },
  {
    name: "memory",
    values: "on|off|MS",
    help: "with the memory that the guest writes, sampled every 100 ms or every MS",
    set: ({ filter }, value, complain) => {
      filter.memory = /^[0-9]/.test(value)
        ? { everyMs: count("memory", value, complain) }
        : onOff("memory", value, complain);
    },
  },
  {
    name: "reason",
    values: "NAME",
    help: "only exits for this reason: IO, MMIO, …; may be repeated, as may the next three",
    set: ({ filter }, value) => {
      filter.reasons = [...(filter.reasons ?? []), value];
    },
  },
  {
    name: "device",
    values: "NAME",
    help: "only those that this device answers: com1, virtio-blk0, unclaimed, …",
    set: ({ filter }, value) => {
      filter.devices = [...(filter.devices ?? []), value];
    },
  },
  {
    name: "port",
    values: "FIRST[-LAST]",
    help: "only those of these ports: 0x3f8-0x3ff",
    set: ({ filter }, value, complain) => {
      filter.ports = [...(filter.ports ?? []), portRange(value, complain)];
    },
  },
  {
    name: "vcpu",
    values: "N",
    help: "only those of this vCPU, from 0 on",
    set: ({ filter }, value, complain) => {
      if (!/^[0-9]{1,4}$/.test(value)) throw complain(`vcpu="${value}" is not the number of a vCPU`);
      filter.vcpus = [...(filter.vcpus ?? []), Number(value)];
    },
  },
];

const FILE_KEYS = KEYS.filter(({ name }) => name !== "enable");

/** Keys of a trace file, one a line. */
export const TRACE_KEY_LINES: readonly string[] = [
  "unclaimed            prints each access to a port or an address where no device answers",
  ...FILE_KEYS.map(({ name, values, help }) => `${`${name}=${values}`.padEnd(20)} ${help}`),
];

export const TRACE_HELP = `Traces:
${TRACE_KEY_LINES.map((line) => `  ${line}\n`).join("")}
vmexit trace summary FILE counts what a file of exits holds. Most exits of the hardware are served by the
host's kernel and are not among them; -stats shows the kernel's own counters.
`;

export function addTrace(draft: Draft, value: string, _typed: string, complain: Complain): void {
  const trace: TraceDraft = { unclaimed: false, help: false, filter: {} };
  setKeys(value, KEYS, trace, complain, "enable");
  if (trace.help) draft.print = TRACE_HELP;
  if (trace.unclaimed) draft.traceUnclaimed = true;
  if (trace.path !== undefined) draft.traceFiles.push({ path: trace.path, filter: trace.filter });
  else if (Object.keys(trace.filter).length > 0) {
    throw complain("where are the exits to be written? exits=FILE");
  }
}

function portRange(value: string, complain: Complain): [number, number] {
  const match = /^(0x[0-9a-f]{1,4}|[0-9]{1,5})(?:-(0x[0-9a-f]{1,4}|[0-9]{1,5}))?$/i.exec(value);
  const first = Number(match?.[1] ?? -1);
  const last = Number(match?.[2] ?? first);
  if (first < 0 || last > 0xffff || first > last) {
    throw complain(`port="${value}" is not a port or a range of ports, as in 0x3f8-0x3ff`);
  }
  return [first, last];
}
