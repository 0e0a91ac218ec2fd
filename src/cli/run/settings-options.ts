/**
 * Options of `vmexit run` for the clock, the name, and what the machine does at its end.
 *
 * Source: QEMU 11.1, qemu-options.hx (-rtc, -name, -action).
 */
import { keysOf, readKeys } from "../../config/keys.ts";
import { MACHINE } from "../../config/machine.ts";
import { table } from "../../config/schema.ts";
import { flag, only, text, typed, words } from "../../config/value.ts";
import { splitKeyValues } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";

const NAME_KEYS = keysOf(
  table({
    name: { type: text("NAME"), qemu: { option: ["guest", "name"] }, help: "" },
    process: { type: text("NAME"), help: "" },
    "debug-threads": { type: flag, help: "" },
  }),
);

/** By how many milliseconds a clock that begins so is ahead of UTC. */
const base = typed("utc|localtime|DATETIME", (typed, refuse) => {
  if (typed === "utc") return 0;
  const now = Date.now();
  if (typed === "localtime") return -new Date(now).getTimezoneOffset() * 60_000;
  const isDate = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2})?$/.test(typed);
  const date = isDate ? Date.parse(typed.includes("T") ? `${typed}Z` : `${typed}T00:00:00Z`) : Number.NaN;
  if (Number.isNaN(date)) {
    throw refuse(
      `"${typed}" is neither utc nor localtime, nor a date as in 2006-06-17T16:01:21 or 2006-06-17`,
    );
  }
  return date - now;
});

const RTC_KEYS = keysOf(
  table({
    base: { type: base, help: "" },
    clock: { type: only("host", "the guest's clock is the host's"), help: "" },
    driftfix: { type: words(["none", "slew"]), help: "" },
  }),
);

const ACTION_KEYS = keysOf(
  table({
    reboot: { type: words(["reset", "shutdown"]), help: "" },
    shutdown: { type: only("poweroff", "the machine ends when its guest shuts down"), help: "" },
    panic: { type: words(["shutdown", "exit-failure", "none"]), help: "" },
    watchdog: { type: text("ACTION"), help: "" },
  }),
);

export const NAME_OPTION: OptionRow = {
  names: ["name"],
  argument: "[guest=]NAME[,process=NAME]",
  example: "-name test",
  help: `${MACHINE.name.help}; process= also names the process, as ps shows it`,
  apply: (draft, value, _typed, complain) => {
    const { name, process } = readKeys(splitKeyValues(value, "guest"), NAME_KEYS, complain);
    if (name !== undefined) draft.vm.name = name;
    if (process !== undefined) draft.processName = process;
  },
};

export const SETTINGS_OPTIONS: readonly OptionRow[] = [
  {
    names: ["version"],
    help: "prints the version",
    apply: (draft) => {
      draft.print = async () => `vmexit ${(await import("../package.ts")).packageVersion()}\n`;
    },
  },
  {
    names: ["rtc"],
    argument: "base=utc|localtime|DATETIME[,clock=host][,driftfix=none|slew]",
    example: "-rtc base=localtime",
    help: "what the CMOS clock shows when the machine starts (default: utc). With driftfix=slew a pc's clock repeats periodic interrupts that were lost",
    apply: (draft, value, _typed, complain) => {
      const { base: offset, driftfix } = readKeys(splitKeyValues(value), RTC_KEYS, complain);
      if (driftfix !== undefined) draft.vm.rtcSlew = driftfix === "slew";
      if (offset !== undefined) draft.vm.rtcOffset = offset;
    },
  },
  {
    names: ["action"],
    argument: "reboot=reset|shutdown[,panic=…]",
    example: "-action reboot=shutdown",
    help: "reboot=shutdown is -no-reboot; what the machine does anyway is accepted",
    apply: (draft, value, _typed, complain) => {
      const { reboot } = readKeys(splitKeyValues(value), ACTION_KEYS, complain);
      if (reboot !== undefined) draft.vm.onReset = reboot === "shutdown" ? "exit" : "reset";
    },
  },
  {
    names: ["readconfig"],
    argument: "FILE",
    help: 'options from a file, as in [device "ID"] and driver = "NAME" below it',
    apply: (_draft, value, _typed, complain) => {
      throw complain(`a file of options cannot name another one: ${value}`);
    },
  },
];
